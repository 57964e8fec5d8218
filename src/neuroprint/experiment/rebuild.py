"""From a finished run back to its experiment. MLflow keeps no folders: these come from the environment or the user."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from neuroprint.encoders.checkpoints import PACKAGED
from neuroprint.errors import NeuroprintError
from neuroprint.experiment.configuration import GROUPS, Config
from neuroprint.experiment.experiment import REFERENCE, Experiment
from neuroprint.phantom.types import PHANTOM_DATASETS
from neuroprint.tracking.store import TrackingStore

if TYPE_CHECKING:
    from mlflow.entities import Run

    from neuroprint.catalog.gate import Gate
    from neuroprint.data.cohort import Cohort
    from neuroprint.experiment.session import Session


def rebuild(
    store: TrackingStore, run: Run, session: Session, overrides: Sequence[str] = (), gate: Gate | None = None
) -> Experiment:
    """The experiment of a finished candidate, with its folders as the environment or ``overrides`` give them.

    Args:
        store: Where the run is.
        run: The run.
        session: Of this process.
        gate: What the run's configuration may name.
        overrides: ``key=value`` for what is elsewhere on this machine, such as ``dataset.root`` or ``encoder.weights``.

    Raises:
        NeuroprintError: The run's configuration is missing or no longer understood, or a folder has to be given.
    """
    try:
        choices = {group: run.data.params[group] for group in GROUPS}
        config: Any = OmegaConf.merge(OmegaConf.structured(Config), read_config(store, run))
        config.tracking.root, config.tracking.uri = str(store.root), store.server
        for override in overrides:
            _set(config, override)
    except (OmegaConfBaseException, KeyError, yaml.YAMLError) as error:
        problem = str(error).partition("\n")[0]
        raise NeuroprintError(
            f"run {run.info.run_name} ({run.info.run_id}): its configuration is not one of this version ({problem})"
        ) from error
    _check_places(config)
    return Experiment.of(config, choices, (), session, gate=gate)


def read_config(store: TrackingStore, run: Run) -> Any:
    """The configuration that a run was logged with, in which values refer to keys and folders of the environment only.

    Raises:
        NeuroprintError: A value is put together of text and a reference, which could carry a secret to an address.
    """
    found = OmegaConf.load(store.artifact(run, "config.yaml"))
    _check_references(OmegaConf.to_container(found, resolve=False), run.info.run_name)
    return found


def _check_references(node: Any, name: str | None) -> None:
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _check_references(value, name)
        if isinstance(value, str) and "${" in value and not REFERENCE.fullmatch(value):
            raise NeuroprintError(f"run {name}: its config.yaml may not hold {value[:60]!r}, which no run of ours has")


def check_same(experiment: Experiment, cohort: Cohort, run: Run) -> None:
    """Refuse to go on with a run whose scans, weights or code are no longer those it was scored with.

    Raises:
        NeuroprintError: They differ.
    """
    if experiment.identity(cohort) == run.data.tags.get("identity"):
        return
    named = run.inputs.dataset_inputs[0].dataset.digest if run.inputs and run.inputs.dataset_inputs else ""
    if named and not cohort.digest.startswith(named):
        raise NeuroprintError(
            f"run {run.info.run_name} ({run.info.run_id}) was scored on other scans than dataset.root="
            f"{experiment.config.dataset.root} holds now: give --set dataset.root=FOLDER, or run the sweep again"
        )
    raise NeuroprintError(
        f"run {run.info.run_name} ({run.info.run_id}) would not be scored alike today: its weights or this version of "
        "neuroprint are others; give --set encoder.weights=FILE, or run it again"
    )


def _set(config: Any, override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or OmegaConf.select(config, key, default=equals) is equals:
        raise NeuroprintError(f"--set {override}: give KEY=VALUE with a key of the run, such as dataset.root=FOLDER")
    OmegaConf.update(config, key, yaml.safe_load(value))


def _check_places(config: DictConfig) -> None:
    root = Path(str(config.dataset.root))
    # Phantoms are written where they are missing; all else has to be there.
    if config.dataset.name not in PHANTOM_DATASETS and not root.exists():
        raise NeuroprintError(
            f"the run's scans were in {root.name}, and MLflow keeps no folders: give --set dataset.root=FOLDER/{root.name}"
        )
    for key in ("weights", "monai_bundle", "path"):
        name = config.encoder.get(key)
        if name and "://" not in name and name not in PACKAGED and not Path(name).expanduser().exists():
            raise NeuroprintError(
                f"the run's weights were in {name}, and MLflow keeps no folders: give --set encoder.{key}=FILE"
            )
