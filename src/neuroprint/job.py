"""A job: one configuration, understood. Everything about it that is known before a scan is read."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import PurePath
from typing import Any

from omegaconf import DictConfig, OmegaConf

from neuroprint.config import CONF, check_device, check_values
from neuroprint.embedding.extractor import Extractor
from neuroprint.embedding.inferers import Inferer, Whole
from neuroprint.embedding.poolings import Pooling
from neuroprint.embedding.store import digest
from neuroprint.encoders.base import Encoder, find_levels
from neuroprint.encoders.voxels import VoxelEncoder
from neuroprint.errors import NeuroprintError
from neuroprint.identified import IdentifiedCohort

# Raised whenever the protocol gives other numbers than before: finished runs of an older version are not reused.
EVALUATION_VERSION = 1

# Groups whose entry is named as a parameter of the run.
_CHOICES = ("dataset", "encoder", "inferer", "pooling", "projection", "probe", "retrieval", "target")
# Groups of which an overridden value inside is a parameter of its own. Paths stay on this machine.
_OPEN_GROUPS = ("encoder", "inferer", "pooling", "projection", "probe")


@dataclass(frozen=True)
class Job:
    """One configuration, checked and with its parts built.

    Attributes:
        config: The composed configuration.
        choices: Chosen entry of each group.
        overrides: What was given on the command line for this job.
        encoder: The network; nothing of it is loaded yet.
        inferer: How a volume goes through it.
        varied: Keys that differ between the jobs of the sweep.
        levels: Names of the chosen levels.
        pooling: Canonical name of the chosen pooling.
        poolings: The chosen pooling and the whole menu, which one forward pass computes together.
    """

    config: DictConfig
    choices: Mapping[str, str]
    overrides: tuple[str, ...]
    varied: frozenset[str]
    encoder: Encoder
    inferer: Inferer
    levels: tuple[str, ...]
    pooling: str
    poolings: Mapping[str, Pooling]

    @classmethod
    def from_config(
        cls,
        config: DictConfig,
        choices: Mapping[str, str],
        overrides: Sequence[str],
        also: Sequence[DictConfig] = (),
        varied: Collection[str] = (),
    ) -> Job:
        """Check a configuration and build its parts, reading no scan.

        Args:
            config: As Hydra composed it.
            choices: ``HydraConfig.runtime.choices``.
            overrides: The job's command line.
            also: Poolings of the sweep's other jobs, to be computed in the same forward pass.
            varied: Keys that differ between the jobs of the sweep: they belong in the run's name.

        Raises:
            NeuroprintError: A value cannot work.
        """
        check_values(config)
        check_device(config.device)
        encoder = _build(config, "encoder")
        inferer = _build(config, "inferer")
        inferer.check(encoder.input)
        asked = {pooling_name(node): _instantiate("pooling", node) for node in (config.pooling, *also)}
        poolings = {**_menu(), **asked}
        _try_pooling(config.pooling, poolings[pooling_name(config.pooling)])
        levels = tuple(encoder.levels[index].name for index in find_levels(encoder.levels, _plain(config.layer)))
        _build(config, "projection")
        _build(config, "probe")
        own = pooling_name(config.pooling)
        return cls(config, choices, tuple(overrides), frozenset(varied), encoder, inferer, levels, own, poolings)

    @property
    def layer(self) -> str:
        """The chosen levels as one word."""
        return "+".join(self.levels)

    @cached_property
    def components(self) -> int | None:
        """Size of the projection, or None where the projection has no size."""
        uses = "${components}" in OmegaConf.to_yaml(self.config.projection, resolve=False)
        return int(self.config.components) if uses else None

    @cached_property
    def supervised(self) -> bool:
        """Whether the projection is fitted to the tumours' positions: such rows say so."""
        return bool(getattr(self.build_projection(), "supervised", False))

    @property
    def name(self) -> str:
        """The run's name, for people: what was chosen, in the order of the flow. Random weights are named first."""
        projection = self.choices["projection"]
        parts = ["" if self.encoder.trained else "untrained", self.layer, self.choices["pooling"]]
        parts.append("" if projection == "none" else f"{projection}{self.components or ''}")
        parts.append("supervised" if self.supervised else "")
        parts.extend(f"{key} {value}" for key, value in self.parameters.items() if "." in key)
        parts.extend(self._varied_parts())
        return " · ".join(part for part in parts if part)

    def _varied_parts(self) -> list[str]:
        """What tells this job from the others of its sweep, beyond what its name has anyway."""
        named = {"layer", "pooling", "projection", "components", *(key for key in self.parameters if "." in key)}
        values = dict(override.lstrip("+~").partition("=")[::2] for override in self.overrides)
        found = []
        for key in sorted(self.varied - named):
            value = values.get(key, "")
            if key == "encoder" and not self.encoder.trained:
                continue
            found.append(value if key in _CHOICES else f"{key.rpartition('.')[2]} {value}")
        return found

    def public_config(self) -> str:
        """The resolved configuration as YAML; of every path only the last part, since folders can carry names."""
        config = OmegaConf.to_container(self.config, resolve=True, enum_to_str=True)
        return OmegaConf.to_yaml(OmegaConf.create(_without_folders(config)))

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """What MLflow shows as the run's parameters: the choices by name, and the values that bear on the numbers."""
        config = self.config
        chosen: dict[str, Any] = {group: self.choices[group] for group in _CHOICES}
        chosen |= {"layer": self.layer, "similarity": config.retrieval.similarity, "region": config.target.region}
        chosen |= {"folds": config.folds, "holdout": config.holdout, "seed": config.seed}
        chosen |= {"precision": config.precision.value, "map": config.map.value}
        if self.components is not None:
            chosen["components"] = self.components
        if self.supervised:
            chosen["supervised"] = True
        if config.retrieval.relevance == "distance":
            chosen["radius_mm"] = float(config.retrieval.radius_mm)
        if config.retrieval.relevance == "metadata":
            chosen["column"] = config.retrieval.column
        for override in self.overrides:
            key, _, value = override.lstrip("+~").partition("=")
            if key.split(".")[0] in _OPEN_GROUPS and "." in key and "/" not in value:
                chosen[key] = value
        return chosen

    def extractor(self, modalities: Sequence[str]) -> Extractor:
        """How this job turns a cohort's scans into vectors."""
        read = self.encoder.input.for_cohort(modalities)
        return Extractor(self.encoder, read, self.inferer, self.config.precision.value, self.poolings)

    def build_projection(self) -> Any:
        """A new, unfitted projection."""
        return _build(self.config, "projection")

    def build_probe(self) -> Any:
        """A new, unfitted probe."""
        return _build(self.config, "probe")

    def group(self, cohort: IdentifiedCohort) -> dict[str, Any]:
        """What runs must share to be ranked together: cohort, folds, hold-out, target and relevance."""
        config = self.config
        relevance = config.retrieval.relevance
        return {
            "version": EVALUATION_VERSION,
            "cohort": cohort.fingerprint,
            "folds": config.folds,
            "seed": config.seed,
            "holdout": cohort.holdout_share(config.holdout),
            "region": config.target.region,
            "weighting": config.target.weighting,
            "frame": cohort.frame(config.target.frame),
            "relevance": relevance,
            "radius_mm": float(config.retrieval.radius_mm) if relevance == "distance" else None,
            "column": config.retrieval.column if relevance == "metadata" else None,
        }

    def identity(self, cohort: IdentifiedCohort) -> str:
        """Hash of all that the run's numbers and pictures depend on: a finished run of it need not be repeated."""
        config = self.config
        return digest(
            {
                "role": "candidate",
                "group": self.group(cohort),
                "extractor": self.extractor(cohort.modalities).description,
                "levels": self.levels,
                "pooling": self.pooling,
                "projection": OmegaConf.to_container(config.projection, resolve=True),
                "probe": OmegaConf.to_container(config.probe, resolve=True),
                "similarity": config.retrieval.similarity,
                "map": config.map.value,
            }
        )


def voxels_extractor(modalities: Sequence[str]) -> Extractor:
    """How the reference row ``voxels`` looks at a scan: as conf/encoder/voxels.yaml says."""
    encoder: VoxelEncoder = _instantiate("encoder", OmegaConf.load(CONF / "encoder" / "voxels.yaml"))
    from neuroprint.embedding import poolings

    return Extractor(encoder, encoder.input.for_cohort(modalities), Whole(), "fp32", {"mean": poolings.mean})


def pooling_name(node: DictConfig) -> str:
    """A pooling's canonical name: the function, and its parameters in alphabetical order."""
    target = str(node["_target_"])
    name = target.removeprefix("neuroprint.embedding.poolings.")
    parameters = sorted((str(key), _canonical(node[key])) for key in node if not str(key).startswith("_"))
    return f"{name}({', '.join(f'{key}={value}' for key, value in parameters)})" if parameters else name


def _canonical(value: Any) -> str:
    """One text for one value: 3 and 3.0 are the same parameter."""
    if OmegaConf.is_list(value):
        return f"[{', '.join(_canonical(item) for item in value)}]"
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _without_folders(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _without_folders(item, str(name)) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_folders(item) for item in value]
    return PurePath(value).name if key in ("root", "path") and isinstance(value, str) else value


def _try_pooling(node: DictConfig, pooling: Pooling) -> None:
    """Call a pooling that has parameters on a tiny map: a wrong one must not wait for the first scan to be read.

    Raises:
        NeuroprintError: The pooling refuses its parameters.
    """
    if not [key for key in node if not str(key).startswith("_")]:
        return
    import torch

    try:
        pooling(torch.arange(54.0).reshape(2, 3, 3, 3), torch.ones(3, 3, 3))
    except (TypeError, ValueError, RuntimeError) as error:
        raise NeuroprintError(f"pooling: {pooling_name(node)} cannot be called: {error}") from error


@cache
def _menu() -> dict[str, Pooling]:
    """Every pooling in conf/pooling, with its default parameters, by canonical name; read once a process."""
    nodes = [OmegaConf.load(path) for path in sorted((CONF / "pooling").glob("*.yaml"))]
    return {pooling_name(node): _instantiate("pooling", node) for node in nodes if isinstance(node, DictConfig)}


def _build(config: DictConfig, group: str) -> Any:
    return _instantiate(group, config[group])


def _instantiate(group: str, node: Any) -> Any:
    """Hydra's instantiate, with its errors put in one line."""
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    try:
        return instantiate(node, _convert_="all")
    except InstantiationException as error:
        if isinstance(error.__cause__, NeuroprintError):
            raise error.__cause__ from None
        problem = re.sub(r"\s+", " ", str(error.__cause__ or error))
        raise NeuroprintError(f"{group}: {node.get('_target_')} cannot be built: {problem}") from error


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
