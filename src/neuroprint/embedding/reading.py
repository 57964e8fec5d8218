"""What an extraction does beside the network: looking into the store, reading and preparing scans, pooling kept maps."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from neuroprint.data.brain_box import brain_box
from neuroprint.data.case import Case
from neuroprint.data.case_facts import CaseFacts
from neuroprint.data.digests import CaseDigests, digest
from neuroprint.data.measure import measure
from neuroprint.data.volume import Volume, read_volume
from neuroprint.embedding.entry import Entry
from neuroprint.embedding.extractor import Extractor, Pooled, Vectors, vector_name
from neuroprint.embedding.kept_maps import kept_levels
from neuroprint.embedding.perturbations import Perturbation
from neuroprint.embedding.preprocessing import NetworkInput
from neuroprint.embedding.store import FeatureStore
from neuroprint.errors import CaseError

log = logging.getLogger(__name__)

FACTS_VERSION = 6  # raised whenever what is measured on a case changes
_FACTS = f"facts/{FACTS_VERSION}"


@dataclass(frozen=True)
class Request:
    """What one row of the leaderboard needs of an extractor.

    Attributes:
        extractor: Computes the vectors that are not stored.
        levels: Names of the levels, concatenated in this order.
        pooling: Canonical name of the pooling, one of the extractor's.
    """

    extractor: Extractor
    levels: tuple[str, ...]
    pooling: str

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(vector_name(level, self.pooling) for level in self.levels)

    def changed(self, perturbation: Perturbation) -> Request:
        """The same of scans that are changed first."""
        return replace(self, extractor=replace(self.extractor, perturbation=perturbation))

    def vector(self, vectors: Mapping[str, npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
        """The levels' vectors one after the other."""
        return np.concatenate([np.asarray(vectors[name], np.float32).ravel() for name in self.names])


@dataclass(frozen=True)
class Prepared:
    """A case that was read.

    Attributes:
        facts: Measured now, or found in the store.
        inputs: By request: what is to go through the network.
        pooled: By request: what was pooled from kept maps instead.
    """

    facts: CaseFacts
    inputs: dict[int, NetworkInput] = field(default_factory=dict)
    pooled: dict[int, Pooled] = field(default_factory=dict)

    @property
    def shapes(self) -> dict[int, tuple[int, ...]]:
        """By request; cases of equal shapes can go through the network together."""
        return {index: prepared.image.shape for index, prepared in self.inputs.items()}


class Reader:
    """Reads the store, and the scans of what it lacks.

    Args:
        store: Where facts, vectors and maps are kept.
        digests: By case id.
        requests: What is wanted of every case.
    """

    def __init__(self, store: FeatureStore, digests: Mapping[str, CaseDigests], requests: Sequence[Request]) -> None:
        self.store = store
        self.digests = digests
        self.requests = requests
        self._contents: dict[str, str] = {}

    def facts(self, case: Case) -> CaseFacts | None:
        """The case's facts, if they are stored."""
        entry = self.store.read(_FACTS, self.digests[case.id].case)
        return self._known(case, CaseFacts.from_arrays(entry.arrays, entry.note)) if entry else None

    def content(self, case: Case) -> str | None:
        """Under what the store keeps a case's vectors and maps; None before its facts are known."""
        return self._contents.get(case.id)

    def _known(self, case: Case, facts: CaseFacts) -> CaseFacts:
        """Scans whose background is not 0 are kept apart: vectors from before it was found mean something else."""
        images = self.digests[case.id].images
        self._contents[case.id] = digest([images, "background"]) if facts.shifted else images
        return facts

    def vectors(self, case: Case, index: int) -> Vectors | None:
        """The stored vectors of a case, or None where one that the request needs is missing."""
        request, content = self.requests[index], self.content(case)
        entry = self.store.read(request.extractor.kind, content) if content else None
        if entry is None or any(name not in entry.arrays for name in request.names):
            return None
        return dict(entry.arrays)

    def lacking(self, case: Case) -> list[int]:
        """Requests whose vectors are not stored: one of those that share an extractor."""
        by_kind = {self.requests[index].extractor.kind: index for index in reversed(range(len(self.requests)))}
        return [index for index in sorted(by_kind.values()) if self.vectors(case, index) is None]

    def prepare(self, case: Case, lacking: Sequence[int]) -> Prepared:
        """Pool what maps were kept of, and read the scan for the rest; many cases can be prepared side by side.

        Raises:
            CaseError: The scan cannot be read, or lacks a modality.
        """
        facts, volume = self.facts(case), None
        if facts is None:
            volume = self._read(case, tuple(case.images), label=True)
            facts = self._known(case, measure(volume, case.label_convention))
            arrays, note = facts.to_arrays()
            self.store.write(_FACTS, self.digests[case.id].case, Entry(arrays, note))
            lacking = [index for index in lacking if self.vectors(case, index) is None]
        pooled = {index: found for index in lacking if (found := self._pool_kept(case, index)) is not None}
        unread = [index for index in lacking if index not in pooled]
        if not unread:
            return Prepared(facts, pooled=pooled)
        needed = {name for index in unread for name in self.requests[index].extractor.modalities}
        absent = sorted(needed - set(case.images))
        if absent:
            raise CaseError(
                case.id, f"has no {', '.join(absent)} image, which the encoder needs; add it, or drop the case"
            )
        if volume is None:
            # What is drawn for a series, and where a changed brain lies, must not hang on which series an encoder reads.
            everything = any(self.requests[index].extractor.perturbation for index in unread)
            modalities = tuple(name for name in case.images if everything or name in needed)
            volume = self._read(case, modalities, label=False)
        return Prepared(facts, self._inputs(case, volume, facts, unread), pooled)

    def _read(self, case: Case, modalities: tuple[str, ...], label: bool) -> Volume:
        volume = read_volume(case, modalities, label=label)
        for doubt in volume.doubts:
            log.warning("case %s: %s", case.id, doubt)
        return volume

    def _inputs(self, case: Case, volume: Volume, facts: CaseFacts, unread: Sequence[int]) -> dict[int, NetworkInput]:
        """What is to go through each request's network; a scan is changed once for all that want it changed alike."""
        seen: dict[str, tuple[Volume, npt.NDArray[np.int64]]] = {"": (volume, facts.brain_box)}
        inputs = {}
        for index in unread:
            extractor = self.requests[index].extractor
            how = "" if extractor.perturbation is None else str(extractor.perturbation.description)
            if extractor.perturbation is not None and how not in seen:
                changed = extractor.perturbation(volume, self.digests[case.id].images)
                seen[how] = changed, brain_box(changed.images)
            inputs[index] = extractor.prepare(*seen[how])
        return inputs

    def _pool_kept(self, case: Case, index: int) -> Pooled | None:
        """A request's vectors from the maps that were kept; None where one of its levels was not."""
        request, content = self.requests[index], self.content(case)
        maps = self.store.read(request.extractor.maps_kind, content) if content else None
        if maps is None or not set(request.levels) <= kept_levels(maps):
            return None
        stored = self.store.read(request.extractor.kind, content) if content else None
        return request.extractor.pool_kept(maps, stored.arrays if stored else ())
