"""A sweep's jobs are composed once, and jobs that differ in values alone share the reading and merging of conf/'s files.

Hydra would compose each three times, for us to check it, to check it itself and to run it, reading every file for every job:
of a sweep of 100 configurations from a full feature store that was more than half of the time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf, open_dict

from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

Jobs = Mapping[tuple[str, ...], DictConfig]
"""The composed configuration of each job, by its overrides."""


def compose_jobs(loader: Any, config: DictConfig, batch: Sequence[Sequence[str]]) -> dict[tuple[str, ...], DictConfig]:
    """The configuration of every job of a sweep, in its order.

    Args:
        loader: Hydra's configuration loader.
        config: The sweep's own configuration.
        batch: The overrides of each job.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parser = OverridesParser.create(config_loader=loader)
    parsed = {line: parser.parse_override(line) for line in dict.fromkeys(line for job in batch for line in job)}
    # Entries that lie elsewhere are known to Hydra alone: then it composes every job.
    elsewhere = bool(config.hydra.searchpath)
    is_choice = {line: elsewhere or _is_choice(loader, override) for line, override in parsed.items()}
    composed: dict[tuple[str, ...], DictConfig] = {}
    bases: dict[tuple[str, ...], DictConfig] = {}
    for lines in batch:
        choices = tuple(line for line in lines if is_choice[line])
        if choices not in bases:
            try:
                bases[choices] = loader.load_sweep_config(config, list(choices))
            except ValueError as error:  # such as null for a group, which Hydra's grammar lets pass
                raise NeuroprintError(f"{' '.join(choices)}: {' '.join(str(error).split())}") from error
        composed[tuple(lines)] = _with_values(config, bases[choices], [parsed[line] for line in lines], choices)
    return composed


def hand_out(loader: Any, jobs: Jobs) -> None:
    """Have Hydra take the jobs of this process from here, where it would compose them again.

    On the loader's class, not on the loader: launchers send the loader to their workers, who have no use for all jobs.
    """
    kind = type(loader)
    compose = getattr(kind.load_sweep_config, "composes", kind.load_sweep_config)

    def load_sweep_config(self: Any, master_config: DictConfig, sweep_overrides: list[str]) -> Any:
        known = jobs.get(tuple(sweep_overrides))
        if known is None:
            return compose(self, master_config, sweep_overrides)
        OmegaConf.set_readonly(known.hydra, False)  # Hydra locks what has run, and a sweep's best runs once more
        return known

    load_sweep_config.composes = compose  # type: ignore[attr-defined]
    kind.load_sweep_config = load_sweep_config


def set_environment(jobs: Jobs, name: str, value: str) -> None:
    """An environment variable of jobs, wherever they run."""
    for config in jobs.values():
        with open_dict(config):
            config.hydra.job.env_set[name] = value


def _is_choice(loader: Any, override: Override) -> bool:
    """Whether an override chooses among files of conf/, or bears on Hydra itself: only Hydra knows what follows from it."""
    chooses = loader.repository.group_exists(override.key_or_group) and not isinstance(override.value(), dict)
    return bool(override.is_hydra_override() or chooses)


def _with_values(
    config: DictConfig, chosen: DictConfig, overrides: Sequence[Override], choices: Sequence[str]
) -> DictConfig:
    """What Hydra's ``load_sweep_config`` would give for ``overrides``, from what it gave for the choices among them."""
    from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname

    job = deepcopy(chosen)
    own = [override for override in overrides if not override.is_hydra_override()]
    ConfigLoaderImpl._apply_overrides_to_config([one for one in own if one.input_line not in choices], job)
    job.hydra.overrides.task = [one.input_line for one in own]
    names = job.hydra.job.config.override_dirname
    job.hydra.job.override_dirname = get_overrides_dirname(
        overrides=own, kv_sep=names.kv_sep, item_sep=names.item_sep, exclude_keys=names.exclude_keys
    )
    OmegaConf.copy_cache(from_config=config, to_config=job)
    return job
