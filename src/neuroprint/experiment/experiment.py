"""An experiment: one configuration, understood. Everything about it that is known before a scan is read."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf, open_dict

from neuroprint.catalog.code import foreign_code
from neuroprint.catalog.gate import Gate
from neuroprint.catalog.instantiate import plain
from neuroprint.catalog.menu import Part
from neuroprint.catalog.redaction import redact
from neuroprint.data.cohort import Cohort
from neuroprint.data.digests import digest
from neuroprint.embedding.precomputed import PrecomputedEncoder
from neuroprint.embedding.recipe import Recipe, encoders_of, weights_digest
from neuroprint.encoders.combined import CombinedEncoder
from neuroprint.evaluation.folds import holdout_share
from neuroprint.evaluation.projection import is_supervised, is_transductive
from neuroprint.experiment.configuration import GROUPS, check_device, check_values
from neuroprint.tasks.task import Task

if TYPE_CHECKING:
    from neuroprint.embedding.poolings import Pooling
    from neuroprint.experiment.session import Session

# Raised whenever the protocol gives other numbers than before: finished runs of an older version are not reused.
EVALUATION_VERSION = 6

QUESTION = "question"
"""The group that names a task or a perturbation by one word."""

# Groups of which an overridden value inside is a parameter of its own. Of paths only the last part leaves this machine.
_OPEN_GROUPS = ("encoder", "inferer", "pooling", "projection", "probe", "perturb")
# Of an encoder: which file its weights come from. Runs and names say by its SHA-256 which weights they were.
_WEIGHTS = ("weights", "monai_bundle", "sha256", "cache")

# A value that refers to another key, or to a folder of this machine's environment, and names no folder itself.
REFERENCE = re.compile(r"\$\{[\w.]+\}|\$\{oc\.env:[^{}/\\]*\}(/[^/\\$]+)?")


@dataclass(frozen=True, eq=False)
class Experiment:
    """One configuration, checked and with its parts built.

    Attributes:
        config: The composed configuration.
        choices: Chosen entry of each group.
        overrides: What was given on the command line for this job.
        varied: Keys that differ between the jobs of the sweep: they belong in the run's name.
        recipe: How scans become embeddings.
        task: What is asked of these.
        projection: What is fitted on them in every fold.
        probe: What is fitted on these.
        gate: What the configuration may name; None where it comes from this command line.
    """

    config: DictConfig
    choices: Mapping[str, str]
    overrides: tuple[str, ...]
    varied: frozenset[str]
    recipe: Recipe
    task: Task
    projection: Part
    probe: Part
    gate: Gate | None = field(default=None, repr=False)

    @classmethod
    def of(
        cls,
        config: DictConfig,
        choices: Mapping[str, str],
        overrides: Sequence[str],
        session: Session,
        also: Mapping[str, Pooling] | None = None,
        varied: Collection[str] = (),
        gate: Gate | None = None,
    ) -> Experiment:
        """Check a configuration and build its parts, reading no scan.

        Args:
            config: As Hydra composed it.
            choices: ``HydraConfig.runtime.choices``.
            overrides: The job's command line.
            session: Of this process.
            also: Poolings of the sweep's other jobs, to be computed in the same forward pass.
            varied: Keys that differ between the jobs of the sweep.
            gate: What the configuration may name, where it does not come from this command line.

        Raises:
            NeuroprintError: A value cannot work.
        """
        config = _without_hydra(config)
        check_values(config)
        check_device(config.device)

        def part(group: str) -> Part:
            return session.part(group, choices[group], config[group], gate)

        recipe = Recipe.of(
            part("encoder"),
            plain(config.layer),
            part("pooling"),
            part("inferer"),
            config.precision.value,
            menu=session.poolings(),
            also=also,
            perturb=part("perturb"),
        )
        parts = part("projection"), part("probe")
        task: Task = part("task").made
        return cls(config, choices, tuple(overrides), frozenset(varied), recipe, task, *parts, gate)

    @cached_property
    def untrained(self) -> Experiment | None:
        """This configuration on seeded random weights; None where the encoder is not trained or has no such twin."""
        recipe = self.recipe.untrained()
        if recipe is None:
            return None
        config = self.config.copy()
        with open_dict(config):
            config.encoder = OmegaConf.create(dict(recipe.encoder.node or {}))
        return replace(self, config=config, recipe=recipe)

    def untrained_identity(self, cohort: Cohort) -> str | None:
        """Identity of the reference row ``untrained`` of this configuration; None where it has none.

        What random weights make of changed scans is not asked: it would take a pass of every scan for every perturbation.
        """
        if self.recipe.perturbation is not None or self.untrained is None:
            return None
        return digest({"role": "untrained", "configuration": self.untrained.identity(cohort)})

    @property
    def components(self) -> int | None:
        """Size of the projection, clipped to the most it can have; None where the projection has no size."""
        if "${components}" not in OmegaConf.to_yaml(self.config.projection, resolve=False):
            return None
        return min(int(self.config.components), _most_components(self.projection.made))

    @property
    def supervised(self) -> bool:
        """Whether the projection is fitted to the task's targets: such rows say so."""
        return is_supervised(self.projection.made)

    @property
    def exportable(self) -> bool:
        """Whether a bundle can be made of it: neither a transductive projection nor vectors from a file place a new case.

        Nor is it of changed scans: the bundle would be that of the configuration without a perturbation.
        """
        transductive, encoder = is_transductive(self.projection.made), self.recipe.encoder.made
        return not (transductive or isinstance(encoder, PrecomputedEncoder) or self.recipe.perturbation)

    @property
    def similarity(self) -> str:
        """How embeddings are compared: as asked, else as the encoder says."""
        return str(self.config.similarity or self.recipe.similarity)

    @cached_property
    def name(self) -> str:
        """The run's name, for people: what was chosen, in the order of the flow. Random weights are named first."""
        projection = self.projection.name
        encoder = self.recipe.encoder.made
        vectors = [self.recipe.layer, self.recipe.pooling.name]
        if isinstance(encoder, PrecomputedEncoder):
            vectors = [self.recipe.encoder.name, encoder.path.stem]
        parts = ["" if self.recipe.trained else "untrained", *vectors]
        parts.append("" if projection == "none" else f"{projection}{self.components or ''}")
        parts.append("supervised" if self.supervised else "")
        parts.append("not exportable" if is_transductive(self.projection.made) else "")
        parts.extend(f"{key} {value}" for key, value in self.parameters.items() if "." in key and key != "encoder.path")
        if any(_names_weights(override.lstrip("+~").partition("=")[0]) for override in self.overrides):
            digits = weights_digest(encoder)
            parts.append(f"weights {digits}" if digits else "")
        parts.extend(self._varied_parts())
        return " · ".join(part for part in parts if part)

    def _varied_parts(self) -> list[str]:
        """What tells this job from the others of its sweep, beyond what its name has anyway."""
        named = {"layer", "pooling", "projection", "components", "map"}
        named |= {key for key in self.parameters if "." in key}
        values = dict(override.lstrip("+~").partition("=")[::2] for override in self.overrides)
        found = []
        for key in sorted(self.varied - named):
            value = redact(values.get(key, ""))
            if (key == "encoder" and not self.recipe.trained) or _names_weights(key) or key == "encoder.path":
                continue
            found.append(value if key in (*GROUPS, QUESTION) else f"{key.rpartition('.')[2]} {value}")
        return found

    def public_config(self) -> str:
        """The resolved configuration as YAML; of every path only the last part, since folders can carry names."""
        return OmegaConf.to_yaml(OmegaConf.create(redact(plain(self.config))))

    def saved_config(self) -> str:
        """The configuration as YAML from which a run is rebuilt: as public, but what refers to another key still does."""
        written = OmegaConf.to_container(self.config, resolve=False, enum_to_str=True)
        return OmegaConf.to_yaml(OmegaConf.create(_with_references(written, redact(plain(self.config)))))

    @property
    def fingerprint(self) -> str:
        """The run's name without what is asked of it."""
        return replace(self, varied=self.varied - {QUESTION, "task", "perturb"}).name

    @property
    def question(self) -> str | None:
        """What is asked, where it has a name."""
        return self.choices.get(QUESTION)

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """What MLflow shows as the run's parameters: the choices by name, and the values that bear on the numbers."""
        config, encoder = self.config, self.recipe.encoder.made
        chosen: dict[str, Any] = {group: self.choices[group] for group in GROUPS}
        if isinstance(encoder, CombinedEncoder):
            chosen["encoders"] = "+".join(self._combined_choices)
        if digits := weights_digest(encoder):
            chosen["weights_sha256"] = digits
        chosen |= {"layer": self.recipe.layer, "similarity": self.similarity}
        chosen |= {key: value for key, value in self.task.parameters().items() if value is not None}
        chosen |= {"folds": config.folds, "holdout": config.holdout, "seed": config.seed}
        chosen["permutations"] = config.permutations
        chosen["precision"] = config.precision.value
        if config.perplexity is not None and "${perplexity}" in OmegaConf.to_yaml(config.projection, resolve=False):
            chosen["perplexity"] = float(config.perplexity)
        if self.components is not None:
            chosen["components"] = self.components
        if self.supervised:
            chosen["supervised"] = True
        if not self.exportable:
            chosen |= {"exportable": False, "transductive": is_transductive(self.projection.made)}
        for override in self.overrides:
            key, _, value = override.lstrip("+~").partition("=")
            if key.split(".")[0] in _OPEN_GROUPS and "." in key and not _names_weights(key):
                chosen[key] = redact(value)
        return chosen

    @property
    def _combined_choices(self) -> list[str]:
        """The entries that a combination was composed of, as Hydra calls them."""
        return [self.choices[group] for group in sorted(self.choices) if group.startswith("encoder@encoder.encoders.")]

    def group(self, cohort: Cohort) -> dict[str, Any]:
        """What runs must share to be ranked together: cohort, folds, hold-out, task and perturbation."""
        config, perturbation = self.config, self.recipe.perturbation
        return {
            "version": EVALUATION_VERSION,
            "cohort": cohort.digest,
            "folds": config.folds,
            "seed": config.seed,
            "holdout": holdout_share(config.holdout, len(cohort.patients)),
            "task": self.task.identity(cohort.frame),
            "metrics": plain(config.task).get(
                "extra_metrics", []
            ),  # a function's arguments are no part of what it makes
            "code": foreign_code(plain(config.task)),
            **({"perturbation": perturbation.description} if perturbation else {}),
            # Runs that may hold an image twice stand by themselves.
            **({"duplicates": cohort.duplicates} if cohort.duplicates != "refuse" else {}),
        }

    def kind(self, cohort: Cohort) -> str:
        """Digest of what two champions must share to be compared: cohort and task."""
        return digest({name: value for name, value in self.group(cohort).items() if name in ("cohort", "task")})

    def identity(self, cohort: Cohort) -> str:
        """Digest of all that the run's numbers depend on: a finished run of it need not be repeated."""
        if cohort.digest not in self._identities:
            self._identities[cohort.digest] = self._identify(cohort)
        return self._identities[cohort.digest]

    @cached_property
    def _identities(self) -> dict[str, str]:
        return {}

    def _identify(self, cohort: Cohort) -> str:
        config = self.config
        if self.components not in (None, config.components):
            config = config.copy()
            config.components = self.components
        projection, probe = plain(config.projection), plain(config.probe)
        return digest(
            {
                "role": "candidate",
                "group": self.group(cohort),
                "recipe": self.recipe.description(cohort.modalities),
                "projection": projection,
                "probe": probe,
                "code": foreign_code([projection, probe]),
                "similarity": self.similarity,
                "permutations": config.permutations,
            }
        )


def seen_marks(experiment: Experiment) -> frozenset[str]:
    """Marks of the images that an experiment's encoders were trained on, as far as their weights say."""
    from neuroprint.encoders.trained_on import seen_images

    return frozenset().union(*(seen_images(part) for part in encoders_of(experiment.recipe.encoder.made)))


def _with_references(written: Any, public: Any) -> Any:
    """The public values, but a value that is a reference, be it to a whole mapping, as it was written."""
    if isinstance(written, str) and REFERENCE.fullmatch(written):
        return written
    if isinstance(public, dict):
        return {key: _with_references(written[key], value) for key, value in public.items()}
    if isinstance(public, list) and isinstance(written, list):
        return [_with_references(*pair) for pair in zip(written, public, strict=True)]
    return public


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
