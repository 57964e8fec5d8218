"""A job: one configuration, understood. Everything about it that is known before a scan is read."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from neuroprint.catalog.build import build
from neuroprint.experiment.configuration import CONF, check_device, check_values
from neuroprint.embedding.extraction import Request
from neuroprint.embedding.extractor import Extractor
from neuroprint.embedding.inferers import Inferer, Whole
from neuroprint.embedding.poolings import Pooling
from neuroprint.embedding.store import digest
from neuroprint.encoders.base import Encoder
from neuroprint.encoders.combined import CombinedEncoder, View, find_views
from neuroprint.encoders.twins import untrained_twin
from neuroprint.encoders.voxels import VoxelEncoder
from neuroprint.experiment.identified import IdentifiedCohort
from neuroprint.catalog.menu import build_pooling, menu, pooling_name
from neuroprint.catalog.redaction import redact

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
        config = _without_hydra(config)
        check_values(config)
        check_device(config.device)
        encoder = _build(config, "encoder")
        inferer = _build(config, "inferer")
        views = find_views(encoder, _plain(config.layer))
        for view in views:
            _inferer_of(view.encoder, inferer).check(view.encoder.input)
        own = pooling_name(config.pooling)
        asked = {pooling_name(node): build_pooling(node) for node in (config.pooling, *also)}
        poolings = {**menu(), **asked}
        job = cls(config, choices, tuple(overrides), frozenset(varied), encoder, inferer, views, own, poolings)
        job.build_projection()
        job.build_probe()
        return job

    @cached_property
    def levels(self) -> tuple[str, ...]:
        """Names of the chosen levels, each once."""
        return tuple(dict.fromkeys(name for view in self.views for name in view.levels))

    @cached_property
    def _twin(self) -> Job | None:
        """The same on random weights, of this very configuration."""
        encoder = untrained_twin(self.encoder)
        return (
            None
            if encoder is None
            else replace(self, encoder=encoder, views=find_views(encoder, _plain(self.config.layer)))
        )

    @cached_property
    def untrained(self) -> Job | None:
        """This configuration on seeded random weights; None where the encoder is not trained or has no such twin."""
        if self._twin is None:
            return None
        config = self.config.copy()
        node = {"_target_": "neuroprint.encoders.twins.untrained_twin", "encoder": self.config.encoder}
        with open_dict(config):
            config.encoder = OmegaConf.create(node)
        return replace(self._twin, config=config)

    def untrained_identity(self, cohort: IdentifiedCohort) -> str | None:
        """Identity of the reference row ``untrained`` of this configuration; None where it has none."""
        if self._twin is None:
            return None
        return digest({"role": "untrained", "configuration": self._twin.identity(cohort)})

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
        """Whether the projection is fitted to the tumors' positions: such rows say so."""
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
        config = OmegaConf.to_container(self.config, resolve=True, enum_to_str=True)
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
        return deepcopy(self._projection)

    def build_probe(self) -> Any:
        """A new, unfitted probe."""
        return deepcopy(self._probe)

    # Every fold of every draw fits new ones: a copy takes a fortieth of the time in which Hydra builds one.
    @cached_property
    def _projection(self) -> Any:
        return _build(self.config, "projection")

    @cached_property
    def _probe(self) -> Any:
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
            # Runs that may hold an image twice stand by themselves.
            **({"duplicates": config.dataset.duplicates} if config.dataset.duplicates != "refuse" else {}),
        }

    def identity(self, cohort: IdentifiedCohort) -> str:
        """Hash of all that the run's numbers and pictures depend on: a finished run of it need not be repeated."""
        if cohort.fingerprint not in self._identities:
            self._identities[cohort.fingerprint] = self._identify(cohort)
        return self._identities[cohort.fingerprint]

    @cached_property
    def _identities(self) -> dict[str, str]:
        return {}

    def _identify(self, cohort: IdentifiedCohort) -> str:
        config = self.config
        if self.components not in (None, config.components):
            config = config.copy()
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


def voxels_extractor(modalities: Sequence[str]) -> Extractor:
    """How the reference row ``voxels`` looks at a scan: as conf/encoder/voxels.yaml says."""
    encoder: VoxelEncoder = build("encoder", OmegaConf.load(CONF / "encoder" / "voxels.yaml"))
    from neuroprint.embedding import poolings

    return Extractor(encoder, encoder.input.for_cohort(modalities), Whole(), "fp32", {"mean": poolings.mean})


def _inferer_of(encoder: Encoder, inferer: Inferer) -> Inferer:
    """Voxels are averages over the whole field of view: they never go through windows."""
    return Whole() if isinstance(encoder, VoxelEncoder) else inferer


def _names_weights(key: str) -> bool:
    """Whether a key says which file an encoder's weights come from."""
    return key.startswith("encoder.") and key.rpartition(".")[2] in _WEIGHTS


def _most_components(projection: Any) -> int:
    """The most components that a projection can have, whatever the cohort; of a chain, those of its last sized step."""
    steps = getattr(projection, "steps", [projection])
    sized = [step for step in steps if hasattr(step, "get_params") and "n_components" in step.get_params()]
    return int(getattr(sized[-1], "most_components", sys.maxsize)) if sized else sys.maxsize


def _without_hydra(config: DictConfig) -> DictConfig:
    """Of a composed configuration what is ours; Hydra's own settings are most of it, and are copied wherever it is."""
    if "hydra" not in config:
        return config
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])


def _build(config: DictConfig, group: str) -> Any:
    return build(group, config[group])


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
