"""How a bundle turns a scan into a fingerprint: ``extractor.json``, the weights it names, and what is rebuilt from them."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroprint.bundle.trusted import build, check
from neuroprint.data.facts import CaseFacts
from neuroprint.data.volume import Volume
from neuroprint.embedding.combination import join
from neuroprint.embedding.extraction import Request
from neuroprint.embedding.extractor import Extractor
from neuroprint.encoders.base import Forward
from neuroprint.encoders.checkpoints import file_sha256
from neuroprint.encoders.weights_file import WeightsFile
from neuroprint.errors import CaseError, NeuroprintError
from neuroprint.catalog.redaction import redact

log = logging.getLogger(__name__)

RECIPE = "extractor.json"
COPIED_BELOW = 64_000_000
"""Bytes: larger weights are named by their SHA-256 and not copied."""

_WEIGHTS_KEYS = ("weights", "bundle")


@dataclass(frozen=True)
class View:
    """One encoder's part of a fingerprint, as configurations.

    Attributes:
        encoder: Resolved node with ``_target_``.
        inferer: Likewise.
        request: What the run asked of it.
    """

    encoder: Mapping[str, Any]
    inferer: Mapping[str, Any]
    request: Request


def write_recipe(folder: Path, views: Sequence[View], pooling: Mapping[str, Any]) -> None:
    """Write ``extractor.json`` and the weights that are not large.

    Raises:
        NeuroprintError: A node names what a bundle cannot hold, such as a pooling of the user's own.
    """
    check(pooling, "pooling")
    parts = []
    for place, view in enumerate(views):
        check(view.encoder, "encoder")
        check(view.inferer, "inferer")
        extractor = view.request.extractor
        weights = getattr(extractor.encoder, "weights", None)
        parts.append(
            {
                "encoder": redact(dict(view.encoder)),
                "weights": _store(weights, folder, place) if isinstance(weights, WeightsFile) else None,
                "identity": extractor.encoder.identity,
                "modalities": list(extractor.modalities),
                "inferer": dict(view.inferer),
                "levels": list(view.request.levels),
                "precision": extractor.precision,
            }
        )
    recipe = {"views": parts, "pooling": dict(pooling), "pooling_name": views[0].request.pooling}
    (folder / RECIPE).write_text(json.dumps(recipe, indent=2) + "\n", encoding="utf-8")


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


class Recipe:
    """A bundle's way from a scan to its fingerprint. Nothing of the networks is loaded before the first scan.

    Args:
        folder: The bundle's.
        weights: Files for weights that the bundle only names: they are told apart by their SHA-256.
        files: Names of the bundle's own files, as its manifest has them and has checked them: no other is read as weights.

    Raises:
        NeuroprintError: ``extractor.json`` is damaged or names what a bundle may not; or a file in ``weights`` is not one
            that the bundle names.
    """

    def __init__(self, folder: Path, weights: Sequence[Path] = (), files: Collection[str] = ()) -> None:
        self._folder = folder
        path = folder / RECIPE
        try:
            recipe = json.loads(path.read_text(encoding="utf-8"))
            self._views: list[dict[str, Any]] = recipe["views"]
            self._pooling, self.pooling = recipe["pooling"], str(recipe["pooling_name"])
            self.modalities: tuple[str, ...] = tuple(
                dict.fromkeys(str(name) for view in self._views for name in view["modalities"])
            )
            named = {view["weights"]["sha256"] for view in self._views if view["weights"]}
            held = {view["weights"]["file"] for view in self._views if view["weights"]} - {None}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise NeuroprintError(f"{path}: cannot be read ({type(error).__name__}: {error})") from error
        check(self._pooling, "pooling")
        for view in self._views:
            check(view["encoder"], "encoder")
            check(view["inferer"], "inferer")
        for name in sorted(map(str, held)):
            if name not in files:
                raise NeuroprintError(
                    f"{path}: its weights {name[:80]!r} are none of the bundle's files, as its manifest lists them; "
                    "copy the bundle again, or export it anew"
                )
        self._given = {file_sha256(file): file for file in weights}
        for sha256, file in self._given.items():
            if sha256 not in named:
                wanted = f"the bundle names {', '.join(sorted(named))}" if named else "the bundle names no weights"
                raise NeuroprintError(f"{file}: not this bundle's weights: its SHA-256 is {sha256}; {wanted}")
        self._loaded: list[tuple[Request, Forward]] | None = None
        self._device = ""

    def embed(self, case: str, volume: Volume, facts: CaseFacts, device: str = "cpu") -> npt.NDArray[np.float32]:
        """The fingerprint of a scan before projection, (D,) float32.

        Raises:
            CaseError: The network gives values that are not finite.
            NeuroprintError: Weights are missing or not the expected ones.
        """
        vectors = []
        for request, forward in self._networks(device):
            found = request.extractor.vectors(request.extractor.prepare(volume, facts), forward, device)
            vectors.append(np.concatenate([found[name].astype(np.float32).ravel() for name in request.names]))
        embedding = join(vectors)
        if not np.isfinite(embedding).all():
            raise CaseError(case, "NaN or infinite features; check the scan")
        return embedding

    def check_weights(self) -> None:
        """Find all weights, without loading them.

        Raises:
            NeuroprintError: They are missing.
        """
        for view in self._views:
            self._place(view)

    def _networks(self, device: str) -> list[tuple[Request, Forward]]:
        if self._loaded is None or self._device != device:
            pooling = build(self._pooling, "pooling")
            requests = [self._request(view, pooling) for view in self._views]
            self._loaded = [(request, request.extractor.encoder.load(device)) for request in requests]
            self._device = device
        return self._loaded

    def _request(self, view: dict[str, Any], pooling: Any) -> Request:
        node = {**view["encoder"], **self._place(view)}
        encoder = build(node, "encoder")
        _compare(encoder.identity, view["identity"])
        inferer = build(view["inferer"], "inferer")
        modalities = tuple(str(name) for name in view["modalities"])
        extractor = Extractor(encoder, modalities, inferer, str(view["precision"]), {self.pooling: pooling})
        return Request(extractor, tuple(str(name) for name in view["levels"]), self.pooling)

    def _place(self, view: dict[str, Any]) -> dict[str, Any]:
        """Where an encoder's weights are, as its arguments: in the bundle, given, or where its configuration says."""
        weights = view["weights"]
        keys = [key for key in _WEIGHTS_KEYS if key in view["encoder"]]
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
