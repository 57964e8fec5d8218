"""A job: one configuration, understood. Everything about it that is known before a scan is read."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from neuroprint.build import build
from neuroprint.config import CONF, check_device, check_values
from neuroprint.embedding.extraction import Request
from neuroprint.embedding.extractor import Extractor
from neuroprint.embedding.inferers import Inferer, Whole
from neuroprint.embedding.poolings import Pooling
from neuroprint.embedding.store import digest
from neuroprint.encoders.base import Encoder
from neuroprint.encoders.combined import CombinedEncoder, View, find_views
from neuroprint.encoders.twins import untrained_twin
from neuroprint.encoders.voxels import VoxelEncoder
from neuroprint.errors import NeuroprintError
from neuroprint.identified import IdentifiedCohort
from neuroprint.redaction import redact

# Raised whenever the protocol gives other numbers than before: finished runs of an older version are not reused.
EVALUATION_VERSION = 2

# Groups whose entry is named as a parameter of the run.
_CHOICES = ("dataset", "encoder", "inferer", "pooling", "projection", "probe", "retrieval", "target")
# Groups of which an overridden value inside is a parameter of its own. Of paths only the last part leaves this machine.
_OPEN_GROUPS = ("encoder", "inferer", "pooling", "projection", "probe")

# Of an encoder: which file its weights come from. Runs and names say by its SHA-256 which weights they were.
_WEIGHTS = ("weights", "bundle", "sha256", "cache")


@dataclass(frozen=True)
class Job:
    """One configuration, checked and with its parts built.

    Attributes:
        config: The composed configuration.
        choices: Chosen entry of each group.
        overrides: What was given on the command line for this job.
        encoder: The network, or several combined; nothing of it is loaded yet.
        inferer: How a volume goes through it.
        varied: Keys that differ between the jobs of the sweep.
        views: The chosen levels, by encoder.
        pooling: Canonical name of the chosen pooling.
        poolings: The chosen pooling and the whole menu, which one forward pass computes together.
    """

    config: DictConfig
    choices: Mapping[str, str]
    overrides: tuple[str, ...]
    varied: frozenset[str]
    encoder: Encoder | CombinedEncoder
    inferer: Inferer
    views: tuple[View, ...]
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
        views = find_views(encoder, _plain(config.layer))
        for view in views:
            _inferer_of(view.encoder, inferer).check(view.encoder.input)
        asked = {pooling_name(node): build("pooling", node) for node in (config.pooling, *also)}
        poolings = {**_menu(), **asked}
        _try_pooling(config.pooling, poolings[pooling_name(config.pooling)])
        _build(config, "projection")
        _build(config, "probe")
        own = pooling_name(config.pooling)
        return cls(config, choices, tuple(overrides), frozenset(varied), encoder, inferer, views, own, poolings)

    @cached_property
    def levels(self) -> tuple[str, ...]:
        """Names of the chosen levels, each once."""
        return tuple(dict.fromkeys(name for view in self.views for name in view.levels))

    @cached_property
    def untrained(self) -> Job | None:
        """This configuration on seeded random weights; None where the encoder is not trained or has no such twin."""
        twin = untrained_twin(self.encoder)
        if twin is None:
            return None
        config = self.config.copy()
        node = {"_target_": "neuroprint.encoders.twins.untrained_twin", "encoder": self.config.encoder}
        with open_dict(config):
            config.encoder = OmegaConf.create(node)
        return replace(self, config=config, encoder=twin, views=find_views(twin, _plain(self.config.layer)))

    @property
    def layer(self) -> str:
        """The chosen levels as one word."""
        return "+".join(self.levels)

    @cached_property
    def components(self) -> int | None:
        """Size of the projection, clipped to the most it can have; None where the projection has no size."""
        if "${components}" not in OmegaConf.to_yaml(self.config.projection, resolve=False):
            return None
        return min(int(self.config.components), _most_components(self.build_projection()))

    @cached_property
    def supervised(self) -> bool:
        """Whether the projection is fitted to the tumours' positions: such rows say so."""
        return bool(getattr(self.build_projection(), "supervised", False))

    @cached_property
    def exportable(self) -> bool:
        """Whether a bundle can be made of it: a transductive projection cannot place a new case."""
        return not getattr(self.build_projection(), "transductive", False)

    @property
    def name(self) -> str:
        """The run's name, for people: what was chosen, in the order of the flow. Random weights are named first."""
        projection = self.choices["projection"]
        parts = ["" if self.encoder.trained else "untrained", self.layer, self.choices["pooling"]]
        parts.append("" if projection == "none" else f"{projection}{self.components or ''}")
        parts.append("supervised" if self.supervised else "")
        parts.append("" if self.exportable else "not exportable")
        parts.extend(f"{key} {value}" for key, value in self.parameters.items() if "." in key)
        if any(_names_weights(override.lstrip("+~").partition("=")[0]) for override in self.overrides):
            parts.append(f"weights {self._weights}" if self._weights else "")
        parts.extend(self._varied_parts())
        return " · ".join(part for part in parts if part)

    def _varied_parts(self) -> list[str]:
        """What tells this job from the others of its sweep, beyond what its name has anyway."""
        named = {"layer", "pooling", "projection", "components", *(key for key in self.parameters if "." in key)}
        values = dict(override.lstrip("+~").partition("=")[::2] for override in self.overrides)
        found = []
        for key in sorted(self.varied - named):
            value = redact(values.get(key, ""))
            if (key == "encoder" and not self.encoder.trained) or _names_weights(key):
                continue
            found.append(value if key in _CHOICES else f"{key.rpartition('.')[2]} {value}")
        return found

    def public_config(self) -> str:
        """The resolved configuration as YAML; of every path only the last part, since folders can carry names."""
        own = OmegaConf.masked_copy(self.config, [str(key) for key in self.config if key != "hydra"])
        config = OmegaConf.to_container(own, resolve=True, enum_to_str=True)
        return OmegaConf.to_yaml(OmegaConf.create(redact(config)))

    @cached_property
    def _weights(self) -> str:
        """First 8 digits of the SHA-256 of the trained weights, of several encoders joined by +; empty for random ones."""
        parts = self.encoder.encoders if isinstance(self.encoder, CombinedEncoder) else (self.encoder,)
        found = [part.identity.get("weights") for part in parts]
        return "+".join(str(weights["sha256"])[:8] for weights in found if weights and "sha256" in weights)

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """What MLflow shows as the run's parameters: the choices by name, and the values that bear on the numbers."""
        config = self.config
        chosen: dict[str, Any] = {group: self.choices[group] for group in _CHOICES}
        if isinstance(self.encoder, CombinedEncoder):
            chosen["encoders"] = "+".join(self._combined_choices)
        if self._weights:
            chosen["weights_sha256"] = self._weights
        chosen |= {"layer": self.layer, "similarity": config.retrieval.similarity, "region": config.target.region}
        chosen |= {"units": config.target.units, "weighting": config.target.weighting, "frame": config.target.frame}
        chosen |= {"folds": config.folds, "repeats": config.repeats}
        chosen |= {"holdout": config.holdout, "seed": config.seed}
        chosen |= {"precision": config.precision.value, "map": config.map.value}
        uses_perplexity = "${perplexity}" in OmegaConf.to_yaml(config.projection, resolve=False)
        if config.perplexity is not None and (uses_perplexity or config.map.value == "tsne"):
            chosen["perplexity"] = float(config.perplexity)
        if self.components is not None:
            chosen["components"] = self.components
        if self.supervised:
            chosen["supervised"] = True
        if not self.exportable:
            chosen["exportable"] = False
        if config.retrieval.relevance == "distance":
            chosen["radius_mm"] = float(config.retrieval.radius_mm)
        if config.retrieval.relevance == "overlap":
            chosen["min_dice"] = float(config.retrieval.min_dice)
        if config.retrieval.relevance == "metadata":
            chosen["column"] = config.retrieval.column
        for override in self.overrides:
            key, _, value = override.lstrip("+~").partition("=")
            if key.split(".")[0] in _OPEN_GROUPS and "." in key and not _names_weights(key):
                chosen[key] = redact(value)
        return chosen

    @property
    def _combined_choices(self) -> list[str]:
        """The entries that a combination was composed of, as Hydra calls them."""
        return [self.choices[group] for group in sorted(self.choices) if group.startswith("encoder@encoder.encoders.")]

    def requests(self, modalities: Sequence[str]) -> tuple[Request, ...]:
        """What this job needs of a cohort's scans: one request an encoder."""
        return tuple(
            Request(self._extractor(view.encoder, modalities), view.levels, self.pooling) for view in self.views
        )

    def _extractor(self, encoder: Encoder, modalities: Sequence[str]) -> Extractor:
        read = encoder.input.for_cohort(modalities)
        inferer = _inferer_of(encoder, self.inferer)
        return Extractor(encoder, read, inferer, self.config.precision.value, self.poolings)

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
            "units": config.target.units,
            "relevance": relevance,
            "radius_mm": float(config.retrieval.radius_mm) if relevance == "distance" else None,
            "min_dice": float(config.retrieval.min_dice) if relevance == "overlap" else None,
            "column": config.retrieval.column if relevance == "metadata" else None,
        }

    def identity(self, cohort: IdentifiedCohort) -> str:
        """Hash of all that the run's numbers and pictures depend on: a finished run of it need not be repeated."""
        config = self.config.copy()
        if self.components is not None:
            config.components = self.components
        return digest(
            {
                "role": "candidate",
                "group": self.group(cohort),
                "extractors": [request.extractor.description for request in self.requests(cohort.modalities)],
                "levels": [view.levels for view in self.views],
                "pooling": self.pooling,
                "projection": OmegaConf.to_container(config.projection, resolve=True),
                "probe": OmegaConf.to_container(config.probe, resolve=True),
                "similarity": config.retrieval.similarity,
                "map": config.map.value,
                "repeats": config.repeats,
                "perplexity": config.perplexity if config.map.value == "tsne" else None,
            }
        )


def untrained_row(job: Job, cohort: IdentifiedCohort) -> str | None:
    """Identity of the reference row ``untrained`` of a configuration; None where it has none."""
    twin = job.untrained
    return None if twin is None else digest({"role": "untrained", "configuration": twin.identity(cohort)})


def voxels_extractor(modalities: Sequence[str]) -> Extractor:
    """How the reference row ``voxels`` looks at a scan: as conf/encoder/voxels.yaml says."""
    encoder: VoxelEncoder = build("encoder", OmegaConf.load(CONF / "encoder" / "voxels.yaml"))
    from neuroprint.embedding import poolings

    return Extractor(encoder, encoder.input.for_cohort(modalities), Whole(), "fp32", {"mean": poolings.mean})


def _inferer_of(encoder: Encoder, inferer: Inferer) -> Inferer:
    """Voxels are averages over the whole field of view: they never go through windows."""
    return Whole() if isinstance(encoder, VoxelEncoder) else inferer


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


def _names_weights(key: str) -> bool:
    """Whether a key says which file an encoder's weights come from."""
    return key.startswith("encoder.") and key.rpartition(".")[2] in _WEIGHTS


def _most_components(projection: Any) -> int:
    """The most components that a projection can have, whatever the cohort; of a chain, those of its last sized step."""
    steps = getattr(projection, "steps", [projection])
    sized = [step for step in steps if hasattr(step, "get_params") and "n_components" in step.get_params()]
    return int(getattr(sized[-1], "most_components", sys.maxsize)) if sized else sys.maxsize


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
    return {pooling_name(node): build("pooling", node) for node in nodes if isinstance(node, DictConfig)}


def _build(config: DictConfig, group: str) -> Any:
    return build(group, config[group])


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
