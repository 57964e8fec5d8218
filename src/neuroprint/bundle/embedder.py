"""How a bundle embeds a scan: ``embedder.json``, the weights it names, and the networks that are built from them."""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroprint.catalog.gate import Gate
from neuroprint.catalog.instantiate import instantiate
from neuroprint.catalog.menu import Part
from neuroprint.catalog.redaction import redact
from neuroprint.data.case_facts import CaseFacts
from neuroprint.data.digests import file_sha256
from neuroprint.data.volume import Volume
from neuroprint.embedding.extractor import Extractor
from neuroprint.embedding.inferers import Whole
from neuroprint.embedding.reading import Request
from neuroprint.embedding.recipe import Recipe, pooling_name
from neuroprint.embedding.shares import Share, embedding_of, requests_of
from neuroprint.encoders.base import Encoder, Forward
from neuroprint.encoders.combined import CombinedEncoder
from neuroprint.encoders.weights_file import WeightsFile
from neuroprint.errors import CaseError, NeuroprintError

log = logging.getLogger(__name__)

EMBEDDER = "embedder.json"
COPIED_BELOW = 64_000_000
"""Bytes: larger weights are named by their SHA-256 and not copied."""

_WEIGHTS_KEYS = ("weights", "monai_bundle")
_WHOLE = {"_target_": f"{Whole.__module__}.Whole"}


def nodes_of(recipe: Recipe) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, Any]]:
    """The nodes of a recipe's encoders, of the inferer of each, and of its pooling.

    Raises:
        NeuroprintError: One of them was given as an object, of which a bundle cannot say how it is made again.
    """
    parts: dict[str, Part] = {"encoder": recipe.encoder, "inferer": recipe.inferer, "pooling": recipe.pooling}
    for role, part in parts.items():
        if part.node is None:
            raise NeuroprintError(
                f"{role}: {part.name} was given as an object, and a bundle cannot say how it is made again: give an entry of "
                f"conf/{role}, or a node with _target_"
            )
    encoder, inferer, pooling = (dict(part.node or {}) for part in parts.values())
    inner = encoder.get("encoders") if isinstance(recipe.encoder.made, CombinedEncoder) else None
    encoders = [dict(inner[name]) for name in sorted(inner)] if inner else [encoder]
    inferers = [inferer if used is recipe.inferer.made else _WHOLE for used in recipe.inferers()]
    return encoders, inferers, pooling


def check_recipe(recipe: Recipe, gate: Gate) -> None:
    """Refuse a recipe that a bundle cannot hold.

    Raises:
        NeuroprintError: It was given as objects, has no network, names code that the gate does not let pass, or has weights
            that a bundle would not find again.
    """
    encoders, inferers, pooling = nodes_of(recipe)
    for node, (network, _) in zip(encoders, recipe.levels, strict=True):
        gate.check(node, "encoder")
        _check_findable(node, network)
    for node in inferers:
        gate.check(node, "inferer")
    gate.check(pooling, "pooling")


def _check_findable(node: Mapping[str, Any], network: Encoder) -> None:
    """Refuse weights that are named by an argument and that the encoder does not show."""
    named = [key for key in _WEIGHTS_KEYS if node.get(key) is not None]
    shown = isinstance(getattr(network, "weights", None), WeightsFile)
    if named and not (shown and "sha256" in inspect.signature(type(network)).parameters):
        raise NeuroprintError(
            f"encoder.{named[0]}: a bundle could not find the weights of {type(network).__name__} again: the class needs an "
            "attribute weights, a neuroprint.encoders.weights_file.WeightsFile, and the arguments weights and sha256, as in "
            "docs/extending.md"
        )


def write_embedder(folder: Path, recipe: Recipe, modalities: Sequence[str]) -> None:
    """Write ``embedder.json`` and the weights that are not large.

    What an encoder has read from files beside its weights goes in as arguments, which it gives as ``carried``.

    Args:
        folder: The bundle's.
        recipe: How the gallery was embedded.
        modalities: Of the gallery's cohort.

    Raises:
        NeuroprintError: The recipe was given as objects.
    """
    encoders, inferers, pooling = nodes_of(recipe)
    parts = []
    for place, (encoder, inferer, (network, levels)) in enumerate(zip(encoders, inferers, recipe.levels, strict=True)):
        weights = getattr(network, "weights", None)
        parts.append(
            {
                "encoder": {**redact(encoder), **getattr(network, "carried", {})},
                "weights": _store(weights, folder, place) if isinstance(weights, WeightsFile) else None,
                "identity": network.identity,
                "modalities": list(network.input.for_cohort(modalities)),
                "inferer": inferer,
                "levels": list(levels),
                "precision": recipe.precision,
            }
        )
    content = {"encoders": parts, "pooling": pooling, "pooling_name": pooling_name(recipe.pooling)}
    (folder / EMBEDDER).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def find_weights(recipe: Recipe) -> None:
    """Find the files of weights that a bundle is to hold or to name; what is far away is fetched.

    Raises:
        NeuroprintError: One is not to be had.
    """
    for weights in weights_files(recipe):
        _sha256_of(weights.path)


def weights_files(recipe: Recipe) -> list[WeightsFile]:
    """The files of weights that a recipe's encoders read."""
    found = [getattr(network, "weights", None) for network, _ in recipe.levels]
    return [weights for weights in found if isinstance(weights, WeightsFile)]


def _store(weights: WeightsFile, folder: Path, place: int) -> dict[str, Any]:
    """Copy weights into the bundle as safetensors, or name them by their SHA-256."""
    known = {"name": redact(weights.source), "sha256": weights.sha256, "file": None}
    if weights.path.stat().st_size >= COPIED_BELOW:
        return known
    target = folder / "weights" / f"{place}.safetensors"
    target.parent.mkdir(exist_ok=True)
    if weights.is_safetensors:
        target.write_bytes(weights.path.read_bytes())
    else:  # a checkpoint of PyTorch's is a pickle: its numbers go in, it does not
        from safetensors.torch import save_file

        save_file({name: tensor.contiguous().clone() for name, tensor in weights.load().items()}, target)
    return {**known, "file": target.relative_to(folder).as_posix()}


class Embedder:
    """A bundle's way from a scan to its embedding. Nothing of the networks is loaded before the first scan.

    Args:
        folder: The bundle's.
        weights: Files for weights that the bundle only names: they are told apart by their SHA-256.
        files: Names of the bundle's own files, as its manifest has them and has checked them: no other is read as weights.
        gate: What the bundle may name.

    Raises:
        NeuroprintError: ``embedder.json`` is damaged or names what a bundle may not; or a file in ``weights`` is not one
            that the bundle names.
    """

    def __init__(
        self, folder: Path, weights: Sequence[Path] = (), files: Collection[str] = (), gate: Gate | None = None
    ) -> None:
        self._folder = folder
        self._gate = gate or Gate()
        path = folder / EMBEDDER
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            self._parts: list[dict[str, Any]] = content["encoders"]
            self._pooling, self.pooling = content["pooling"], str(content["pooling_name"])
            self.modalities: tuple[str, ...] = tuple(
                dict.fromkeys(str(name) for part in self._parts for name in part["modalities"])
            )
            named = {part["weights"]["sha256"] for part in self._parts if part["weights"]}
            held = {part["weights"]["file"] for part in self._parts if part["weights"]} - {None}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise NeuroprintError(f"{path}: cannot be read ({type(error).__name__}: {error})") from error
        self._gate.check(self._pooling, "pooling")
        for part in self._parts:
            self._gate.check(part["encoder"], "encoder")
            self._gate.check(part["inferer"], "inferer")
        for name in sorted(map(str, held)):
            if name not in files:
                raise NeuroprintError(
                    f"{path}: its weights {name[:80]!r} are none of the bundle's files, as its manifest lists them; "
                    "copy the bundle again, or export it anew"
                )
        self._given = {_sha256_of(file): file for file in weights}
        for sha256, file in self._given.items():
            if sha256 not in named:
                wanted = f"the bundle names {', '.join(sorted(named))}" if named else "the bundle names no weights"
                raise NeuroprintError(f"{file}: not this bundle's weights: its SHA-256 is {sha256}; {wanted}")
        self._shares: tuple[Share, ...] = ()
        self._loaded: dict[str, Forward] = {}
        self._device = ""

    def __call__(self, case: str, volume: Volume, facts: CaseFacts, device: str = "cpu") -> npt.NDArray[np.float32]:
        """The embedding of a scan before projection, (D,) float32.

        Raises:
            CaseError: The network or the pooling gives values that are not finite, or the pooling fails.
            NeuroprintError: Weights are missing or not the expected ones.
        """
        self._load(device)
        vectors = []
        for request in requests_of(self._shares):
            extractor = request.extractor
            forward = self._loaded[extractor.network]
            pooled = extractor.run([extractor.prepare(volume, facts.brain_box)], forward, device)[0]
            if failed := [pooled.failed[name] for name in request.names if name in pooled.failed]:
                raise CaseError(case, f"pooling {self.pooling} failed ({failed[0]}); check the pooling")
            vectors.append(request.vector(pooled.vectors))
        embedding = embedding_of(self._shares, vectors)
        if not np.isfinite(embedding).all():
            raise CaseError(case, "NaN or infinite features; check the scan")
        return embedding

    def check_weights(self) -> None:
        """Find all weights, without loading them.

        Raises:
            NeuroprintError: They are missing.
        """
        for part in self._parts:
            self._place(part)

    def _load(self, device: str) -> None:
        """Build the networks, each once, unless they are there."""
        if self._loaded and self._device == device:
            return
        pooling = instantiate(self._pooling, "pooling", self._gate)
        self._shares = tuple(Share.of(self._request(part, pooling)) for part in self._parts)
        extractors = {request.extractor.network: request.extractor for request in requests_of(self._shares)}
        self._loaded = {network: extractor.encoder.load(device) for network, extractor in extractors.items()}
        self._device = device

    def _request(self, part: dict[str, Any], pooling: Any) -> Request:
        encoder = instantiate(part["encoder"], "encoder", self._gate, **self._place(part))
        _compare(encoder.identity, part["identity"])
        inferer = instantiate(part["inferer"], "inferer", self._gate)
        modalities = tuple(str(name) for name in part["modalities"])
        extractor = Extractor(encoder, modalities, inferer, str(part["precision"]), {self.pooling: pooling})
        return Request(extractor, tuple(str(name) for name in part["levels"]), self.pooling)

    def _place(self, part: dict[str, Any]) -> dict[str, Any]:
        """Where an encoder's weights are, as its arguments: in the bundle, given, or where its configuration says."""
        weights = part["weights"]
        keys = [key for key in _WEIGHTS_KEYS if key in part["encoder"]]
        if weights is None:
            return dict.fromkeys(keys)  # random ones: nothing that a bundle names is read or fetched from elsewhere
        key = keys[0]
        if weights["file"] is not None:
            return {key: str(self._folder / weights["file"]), "sha256": None}  # the bundle's manifest vouches for it
        if weights["sha256"] in self._given:
            return {key: str(self._given[weights["sha256"]]), "sha256": weights["sha256"]}
        beside = [folder / weights["name"] for folder in (self._folder, self._folder.parent, Path())]
        for file in beside:
            if file.is_file() and file_sha256(file) == weights["sha256"]:
                return {key: str(file), "sha256": weights["sha256"]}
        raise NeuroprintError(
            f"the bundle names its weights but does not hold them: give --weights FILE, a copy of {weights['name']} "
            f"with the SHA-256 {weights['sha256']}"
        )


def _sha256_of(file: Path) -> str:
    try:
        return file_sha256(file)
    except OSError as error:
        raise NeuroprintError(f"{file}: cannot be read ({error.strerror}); give a file of weights") from error


def _compare(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Random weights that would be drawn otherwise than the gallery's are refused; other differences are said."""

    def plain(identity: Mapping[str, Any]) -> dict[str, Any]:
        content = dict(json.loads(json.dumps(identity)))
        weights = content.get("weights")
        if isinstance(weights, dict) and "sha256" in weights:
            del content["weights"]  # known by the file's own SHA-256, and another once it was copied as safetensors
        return content

    here, there = plain(found), plain(expected)
    if here == there:
        return
    if here.get("weights") != there.get("weights"):
        raise NeuroprintError(
            f"the bundle's random weights were drawn with {there.get('weights')}; here they would be other ones "
            f"({here.get('weights')}): install those versions"
        )
    log.warning("the network is built by other code than the gallery's was: similarities may differ slightly")
