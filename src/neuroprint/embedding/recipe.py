"""How a scan becomes an embedding: the encoder and its levels, the inferer, the pooling. No scan is needed to know it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from neuroprint.catalog.code import foreign_code
from neuroprint.catalog.instantiate import instantiate, plain
from neuroprint.catalog.menu import Catalog, Part
from neuroprint.data.digests import digest
from neuroprint.embedding import poolings
from neuroprint.embedding.extractor import Extractor
from neuroprint.embedding.inferers import Inferer, Whole
from neuroprint.embedding.perturbations import Perturbation, Unchanged
from neuroprint.embedding.poolings import Pooling
from neuroprint.embedding.reading import Request
from neuroprint.embedding.shares import Share, requests_of
from neuroprint.encoders.base import Encoder, check_encoder
from neuroprint.encoders.combined import ChosenLevels, CombinedEncoder, choose_levels
from neuroprint.encoders.twins import untrained_twin
from neuroprint.encoders.voxels import VoxelEncoder
from neuroprint.errors import NeuroprintError

log = logging.getLogger(__name__)

_OWN_POOLINGS = "neuroprint.embedding.poolings."
_CODE_DIGITS = 8


@dataclass(frozen=True, eq=False)
class Recipe:
    """How a scan becomes an embedding.

    Attributes:
        encoder: The network, or several combined.
        inferer: How a volume goes through it.
        pooling: How a feature map becomes a vector.
        levels: The chosen levels, by encoder.
        precision: ``fp32``, ``tf32`` or ``bf16``.
        poolings: The chosen pooling and all others that the same forward pass computes, by canonical name.
        perturbation: How query scans are changed; None: not at all.
    """

    encoder: Part
    inferer: Part
    pooling: Part
    levels: ChosenLevels
    precision: str
    poolings: Mapping[str, Pooling]
    perturbation: Perturbation | None = None

    @classmethod
    def of(
        cls,
        encoder: Part,
        layer: int | str | Sequence[int | str] | None,
        pooling: Part,
        inferer: Part,
        precision: str = "fp32",
        menu: Mapping[str, Pooling] | None = None,
        also: Mapping[str, Pooling] | None = None,
        perturb: Part | None = None,
    ) -> Recipe:
        """Put a recipe together.

        Args:
            encoder: The network.
            layer: Number or name of a level, a list of them, or None for the encoder's default.
            pooling: The pooling.
            inferer: The inferer.
            precision: Of the forward pass.
            menu: The menu's poolings by canonical name, which are computed in the same pass and need not be tried out.
            also: Further poolings to compute in the same pass, by canonical name.
            perturb: How query scans are changed.

        Raises:
            NeuroprintError: The encoder has no such level, the inferer cannot serve it, or the pooling refuses its
                parameters.
        """
        for network in encoders_of(encoder.made):
            check_encoder(network)
        levels = choose_levels(encoder.made, plain(layer))
        for network, _ in levels:
            _inferer_of(network, inferer.made).check(network.input)
        name = pooling_name(pooling)
        known = (menu or {}).get(name)
        if known is None or not _alike(known, pooling.made):
            _try_pooling(name, pooling.made)
        computed = {**(menu or {}), **(also or {}), name: pooling.made}
        change = None if perturb is None or isinstance(perturb.made, Unchanged) else perturb.made
        return cls(encoder, inferer, pooling, levels, precision, computed, change)

    @property
    def layer(self) -> str:
        """The chosen levels as one word, such as ``stage2`` or ``stage1+stage2``."""
        return "+".join(dict.fromkeys(name for _, names in self.levels for name in names))

    @property
    def trained(self) -> bool:
        """Whether no weight is random."""
        return bool(self.encoder.made.trained)

    @property
    def similarity(self) -> str:
        """What its embeddings are made for: ``cosine``, or what the encoder says."""
        return str(getattr(self.encoder.made, "similarity", "cosine"))

    def shares(self, modalities: Sequence[str]) -> tuple[Share, ...]:
        """What each encoder is to give, of the scans of a cohort with these modalities.

        Raises:
            NeuroprintError: An encoder needs a modality that the cohort lacks.
        """
        return tuple(Share.of(self._request(network, names, modalities)) for network, names in self.levels)

    def requests(self, modalities: Sequence[str]) -> tuple[Request, ...]:
        """What is needed of the scans of a cohort with these modalities: one request an encoder, or one a series of it."""
        return requests_of(self.shares(modalities))

    def inferers(self) -> tuple[Inferer, ...]:
        """The inferer of each encoder."""
        return tuple(_inferer_of(network, self.inferer.made) for network, _ in self.levels)

    def description(self, modalities: Sequence[str]) -> dict[str, Any]:
        """All that the embeddings of a cohort with these modalities depend on, JSON-able."""
        shares = self.shares(modalities)
        requests = requests_of(shares)
        averaged = [place for place, share in enumerate(shares) if share.averaged]
        return {
            "extractors": [request.extractor.description for request in requests],
            "levels": [list(request.levels) for request in requests],
            "pooling": pooling_name(self.pooling),
            **({"averaged": averaged} if averaged else {}),
        }

    def untrained(self) -> Recipe | None:
        """The same on seeded random weights; None where the encoder is not trained or has no such twin."""
        twin = untrained_twin(self.encoder.made)
        if twin is None:
            return None
        node = {"_target_": f"{untrained_twin.__module__}.untrained_twin", "encoder": self.encoder.node}
        part = Part(self.encoder.name, node if self.encoder.node else None, twin)
        levels = tuple((own, names) for own, (_, names) in zip(encoders_of(twin), self.levels, strict=True))
        return replace(self, encoder=part, levels=levels)

    def _request(self, network: Encoder, names: tuple[str, ...], modalities: Sequence[str]) -> Request:
        read, inferer = network.input.for_cohort(modalities), _inferer_of(network, self.inferer.made)
        extractor = Extractor(network, read, inferer, self.precision, self.poolings)
        return Request(extractor, names, pooling_name(self.pooling))


def voxels_request(modalities: Sequence[str]) -> Request:
    """How the reference row ``voxels`` looks at a scan: as conf/encoder/voxels.yaml says, whatever the run's choices are."""
    encoder: VoxelEncoder = Catalog().part("encoder", "voxels").made
    extractor = Extractor(encoder, encoder.input.for_cohort(modalities), Whole(), "fp32", {"mean": poolings.mean})
    return Request(extractor, (encoder.default_level,), "mean")


def menu_poolings(catalog: Catalog) -> dict[str, Pooling]:
    """Every pooling in conf/pooling, with its default parameters, by canonical name.

    A folder ``conf`` may be another program's: what names no function is left out.
    """
    nodes = {name: catalog.node("pooling", name) for name in catalog.names("pooling")}
    parts = [Part(name, node, instantiate(node, "pooling")) for name, node in nodes.items() if "_target_" in node]
    return {pooling_name(part): part.made for part in parts}


def pooling_name(part: Part) -> str:
    """A pooling's canonical name: the function, and its parameters in alphabetical order.

    Vectors are stored under it, so that it tells functions apart that give other numbers: the name of one that is not
    neuroprint's own ends with a digest of its source.

    Raises:
        NeuroprintError: The pooling is an object without a name of its own, such as a function inside another.
    """
    if part.node is None:
        raise NeuroprintError(
            f"pooling: {part.name} cannot be told from others by its name: give a function at the top of a module, or a node "
            "with _target_"
        )
    if "_target_" not in part.node:
        raise NeuroprintError(
            f"pooling={part.name}: its entry names no function: expected _target_ and _partial_: true"
        )
    target = str(part.node["_target_"])
    name = target.removeprefix(_OWN_POOLINGS)
    if name == target:
        name += f"#{digest(foreign_code(dict(part.node)))[:_CODE_DIGITS]}"
    parameters = sorted(
        (str(key), _canonical(value))
        for key, value in part.node.items()
        if key == "_args_" or not str(key).startswith("_")
    )
    return f"{name}({', '.join(f'{key}={value}' for key, value in parameters)})" if parameters else name


def encoders_of(encoder: Encoder | CombinedEncoder) -> tuple[Encoder, ...]:
    """The encoders of a combination, or the one encoder."""
    return encoder.encoders if isinstance(encoder, CombinedEncoder) else (encoder,)


def weights_digest(encoder: Encoder | CombinedEncoder) -> str:
    """First 8 digits of the SHA-256 of the trained weights, of several encoders joined by +; empty for random ones."""
    found = [part.identity.get("weights") for part in encoders_of(encoder)]
    return "+".join(str(weights["sha256"])[:8] for weights in found if weights and "sha256" in weights)


def _inferer_of(encoder: Encoder, inferer: Inferer) -> Inferer:
    """Voxels are averages over the whole field of view: they never go through windows."""
    return Whole() if isinstance(encoder, VoxelEncoder) else inferer


def _canonical(value: Any) -> str:
    """One text for one value: 3 and 3.0 are the same parameter."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(_canonical(item) for item in value)}]"
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _alike(one: Pooling, other: Pooling) -> bool:
    """Whether two poolings are one function with equal parameters: p=3 and p='3' have one name, but are not equal."""
    parts = [
        (getattr(made, "func", made), getattr(made, "args", ()), getattr(made, "keywords", {})) for made in (one, other)
    ]
    return parts[0] == parts[1]


def _try_pooling(name: str, pooling: Callable[..., Any]) -> None:
    """Call a pooling on a tiny map: what cannot be called must not wait for the first scan to be read.

    One that raises anything but a complaint about its arguments may still do on a map that is larger.

    Raises:
        NeuroprintError: It cannot be called with its parameters.
    """
    import torch

    try:
        pooling(torch.arange(54.0).reshape(2, 3, 3, 3), torch.ones(3, 3, 3))
    except NeuroprintError:
        raise
    except (TypeError, AttributeError) as error:
        raise NeuroprintError(f"pooling: {name} cannot be called: {' '.join(str(error).split())}") from error
    except Exception:
        log.debug("pooling %s fails on a tiny map", name, exc_info=True)
