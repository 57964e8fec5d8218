"""The typed schema behind conf/, and what can be checked of a configuration without reading a scan."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from neuroprint.data.labels import AUTO, convention_of
from neuroprint.errors import NeuroprintError

GROUPS = ("dataset", "encoder", "inferer", "pooling", "projection", "probe", "task", "perturb")
"""Groups whose entry is named as a parameter of a run."""

RENAMED = {
    "retrieval": "task",
    "retrieval.similarity": "similarity",
    "retrieval.relevance": "task",
    "retrieval.radius_mm": "task.radius_mm",
    "retrieval.min_dice": "task.min_dice",
    "retrieval.column": "task.column",
    "target": "task",
    "target.region": "task.region",
    "target.weighting": "task.weighting",
    "target.frame": "task.frame",
    "target.units": None,
    "repeats": None,
    "encoder.bundle": "encoder.monai_bundle",
    "encoder.normalize": "encoder.layer_norm",
    "encoder.normalisation": "encoder.normalization",
}
"""Keys of earlier versions, and what they are now; None where they are gone."""


class MapName(Enum):
    """How the 2-D picture of a cohort is made."""

    tsne = "tsne"
    umap = "umap"
    pca = "pca"


class Precision(Enum):
    """Arithmetic of the forward pass."""

    fp32 = "fp32"
    tf32 = "tf32"
    bf16 = "bf16"


@dataclass
class StoreConfig:
    """The feature store."""

    root: str = MISSING
    keep_maps: float = 8.0


@dataclass
class TrackingConfig:
    """Where MLflow keeps the runs."""

    uri: str | None = None
    root: str = "mlruns"
    experiment: str = "neuroprint"


@dataclass
class Config:
    """Top-level keys. Groups whose entries name a class by ``_target_`` are open; the others are typed."""

    dataset: Any = MISSING
    encoder: Any = MISSING
    inferer: Any = MISSING
    pooling: Any = MISSING
    projection: Any = MISSING
    probe: Any = MISSING
    task: Any = MISSING
    perturb: Any = MISSING
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    layer: Any = None
    components: int = 16
    similarity: str | None = None
    map: MapName = MapName.tsne
    perplexity: float | None = None
    folds: int = 5
    holdout: Any = "auto"
    permutations: int = 199
    seed: int = 0
    device: str = "auto"
    precision: Precision = Precision.fp32
    figures: bool = True
    fingerprint: Any = None
    resume: bool = True
    store: StoreConfig = field(default_factory=StoreConfig)


def register_schema() -> None:
    """Make the schema known to Hydra under the name that conf/config.yaml lists first."""
    ConfigStore.instance().store(name="schema", node=Config)


def check_keys(arguments: list[str]) -> None:
    """Answer a key of an earlier version with what it is now.

    Args:
        arguments: The command line.

    Raises:
        NeuroprintError: There is such a key.
    """
    for argument in arguments:
        key = argument.lstrip("+~").partition("=")[0]
        if argument.startswith("-") or "=" not in argument or key not in RENAMED:
            continue
        now = RENAMED[key]
        raise NeuroprintError(f"{key} is {now} now" if now else f"{key} is gone: leave it out")


def check_values(config: DictConfig) -> None:
    """Refuse values that cannot work, before anything is read or written.

    Raises:
        NeuroprintError: Names the key, its value, and what it may be.
    """
    check_missing(config)
    if config.fingerprint is not None:  # a sweep has put the run's choices in its place, where it is composed
        raise NeuroprintError(
            f"fingerprint={config.fingerprint}: is for sweeps whose jobs are composed by the launching process: give -m, and "
            "no launcher that composes them anew"
        )
    if config.similarity is not None:
        _among(config, "similarity", ("cosine", "dot", "euclidean"))
    if "labels" in config.dataset:
        _check_labels(config.dataset.labels)
    _among(config, "dataset.duplicates", ("refuse", "allow"))
    _at_least(config, "folds", 2)
    _at_least(config, "components", 1)
    _at_least(config, "seed", 0)
    _at_least(config, "permutations", 0)
    _at_least(config, "store.keep_maps", 0)
    if config.perplexity is not None and not config.perplexity > 0:
        raise NeuroprintError(f"perplexity={config.perplexity}: must be greater than 0")
    holdout = config.holdout
    if holdout != "auto" and not (isinstance(holdout, int | float) and 0 <= holdout < 1):
        raise NeuroprintError(
            f"holdout={holdout}: must be auto, or a share of the patients from 0 up to but not including 1"
        )


def check_missing(config: DictConfig) -> None:
    """Refuse a configuration in which something that has no default was not given.

    Raises:
        NeuroprintError: Names the key.
    """
    for group, node in config.items_ex(resolve=False):
        for entry in list(node) if isinstance(node, DictConfig) else []:
            if OmegaConf.is_missing(node, entry):
                key = ".".join((str(group), str(entry)))
                raise NeuroprintError(f"{key} is missing: give it on the command line as {key}=VALUE")


def check_device(device: str) -> None:
    """Refuse a GPU that is not there. Only a GPU asked for by name is worth importing torch for at once.

    Raises:
        NeuroprintError: No such device.
    """
    kind, _, number = device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (number and not (kind == "cuda" and number.isdecimal())):
        raise NeuroprintError(f"device={device}: must be auto, cpu, cuda or cuda:NUMBER")
    if kind == "cuda":
        import torch

        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(number or 0) >= count:
            found = f"{count} GPUs" if count else "no GPU that PyTorch can use"
            raise NeuroprintError(
                f"device={device}: this machine has {found}. Use device=cpu, or device=auto to take what is there"
            )


def _among(config: DictConfig, key: str, allowed: tuple[str, ...]) -> None:
    value = OmegaConf.select(config, key)
    if value not in allowed:
        raise NeuroprintError(f"{key}={value}: must be one of {', '.join(allowed)}")


def _check_labels(labels: Any) -> None:
    given: Any = OmegaConf.to_container(labels) if OmegaConf.is_config(labels) else labels
    if given == AUTO:
        return
    try:
        convention_of(given)
    except NeuroprintError as error:
        raise NeuroprintError(f"dataset.{error}") from error


def _at_least(config: DictConfig, key: str, least: int) -> None:
    value = OmegaConf.select(config, key)
    if value < least:
        raise NeuroprintError(f"{key}={value}: must be at least {least}")
