"""Extraction: each scan is read once and passes through each network once, whatever is swept."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from neuroprint.data.case import Case
from neuroprint.data.facts import CaseFacts, measure
from neuroprint.data.prints import Fingerprints
from neuroprint.data.volume import read_volume
from neuroprint.embedding.extractor import Extractor, vector_name
from neuroprint.embedding.preprocessing import NetworkInput
from neuroprint.embedding.store import Entry, FeatureStore
from neuroprint.errors import CaseError, NeuroprintError

if TYPE_CHECKING:
    from tqdm import tqdm

    from neuroprint.encoders.base import Forward

log = logging.getLogger(__name__)

READ_AHEAD = 2  # scans read and prepared while the network runs: bounds the memory
FACTS_VERSION = 2  # raised whenever what is measured on a case changes


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


@dataclass
class Extraction:
    """The outcome: facts and embeddings of every sound case, and why the others are missing.

    Attributes:
        facts: By case id.
        embeddings: One dictionary a request, by case id: float32 vectors.
        excluded: Problem by case id.
        forwards: Forward passes through each request's encoder.
        cached: Cases that each request found in the store.
        seconds: Wall-clock time of the whole extraction.
    """

    facts: dict[str, CaseFacts] = field(default_factory=dict)
    embeddings: list[dict[str, npt.NDArray[np.float32]]] = field(default_factory=list)
    excluded: dict[str, str] = field(default_factory=dict)
    forwards: list[int] = field(default_factory=list)
    cached: list[int] = field(default_factory=list)
    seconds: float = 0.0


@dataclass
class _Work:
    """One claimed case: its lock is held until what was missing has been written."""

    case: Case
    lock: FileLock
    lacking: list[int]
    prepared: Future[tuple[CaseFacts, dict[int, NetworkInput]]]


class Extract:
    """Computes what the store lacks, case by case, side by side with any other process that does the same.

    Args:
        store: Where facts and vectors are kept.
        device: Torch device of the networks.
        strict: Stop at the first case that cannot be used, instead of leaving it out.
    """

    def __init__(self, store: FeatureStore, device: str, strict: bool = False) -> None:
        self.store = store
        self.device = device
        self.strict = strict
        self._forwards: dict[str, Forward] = {}

    def __call__(
        self, cases: Sequence[Case], fingerprints: Mapping[str, Fingerprints], requests: Sequence[Request]
    ) -> Extraction:
        """Facts and embeddings of every sound case.

        Raises:
            CaseError: In strict mode, the first case that cannot be used.
        """
        self._prints = fingerprints
        self._requests = requests
        self._result = Extraction(
            embeddings=[{} for _ in requests], forwards=[0] * len(requests), cached=[0] * len(requests)
        )
        started = time.perf_counter()
        pending = deque(case for case in cases if not self._known_unusable(case) and not self._take_stored(case))
        if pending:
            self._compute(pending, total=len(cases))
        self._result.seconds = time.perf_counter() - started
        return self._result

    def _compute(self, pending: deque[Case], total: int) -> None:
        from tqdm import tqdm

        self.store.tidy()
        for request in self._requests:
            self.store.describe(request.extractor.kind, request.extractor.description)
        log.info("extracting %d of %d cases (%d stored)", len(pending), total, total - len(pending))
        in_flight: deque[_Work] = deque()
        readers = ThreadPoolExecutor(max_workers=min(READ_AHEAD, os.cpu_count() or 1), thread_name_prefix="reader")
        bar = tqdm(total=total, initial=total - len(pending), desc="extracting", unit="case", dynamic_ncols=True)
        try:
            while pending or in_flight:
                while pending and len(in_flight) <= READ_AHEAD:
                    work = self._claim(pending, readers, bar, wait=not in_flight)
                    if work is None:
                        break
                    in_flight.append(work)
                if in_flight:
                    self._finish(in_flight.popleft())
                    bar.update()
        finally:
            for work in in_flight:
                work.prepared.cancel()
                work.lock.release()
            readers.shutdown(wait=True, cancel_futures=True)
            bar.close()

    def _claim(self, pending: deque[Case], readers: ThreadPoolExecutor, bar: tqdm[None], wait: bool) -> _Work | None:
        """The next case that nobody else works on, being read; None where others hold all that is left."""
        for _ in range(len(pending)):
            case = pending.popleft()
            lock = self.store.lock(self._prints[case.id].images)
            try:
                lock.acquire(blocking=False)
            except Timeout:
                pending.append(case)
                continue
            # Another process may have finished the case between our look at the store and the lock.
            if self._take_stored(case):
                lock.release()
                bar.update()
                continue
            by_kind = {self._requests[index].extractor.kind: index for index in reversed(range(len(self._requests)))}
            lacking = [index for index in sorted(by_kind.values()) if not self._stored(case, index)]
            return _Work(case, lock, lacking, readers.submit(self._read, case, lacking))
        if pending and wait:
            time.sleep(0.1)
        return None

    def _read(self, case: Case, lacking: Sequence[int]) -> tuple[CaseFacts, dict[int, NetworkInput]]:
        facts = self._stored_facts(case)
        needed = {name for index in lacking for name in self._requests[index].extractor.modalities}
        modalities = tuple(case.images) if facts is None else tuple(name for name in case.images if name in needed)
        absent = sorted(needed - set(case.images))
        if absent:
            raise CaseError(
                case.id, f"has no {', '.join(absent)} image, which the encoder needs; add it, or drop the case"
            )
        volume = read_volume(case, modalities, label=facts is None)
        if facts is None:
            facts = measure(volume, case.label_convention)
            arrays, note = facts.to_arrays()
            self.store.write(_FACTS, self._prints[case.id].case, Entry(arrays, note))
        return facts, {index: self._requests[index].extractor.prepare(volume, facts) for index in lacking}

    def _finish(self, work: _Work) -> None:
        """Run the networks on a case that was read, store its vectors, and give the case back."""
        case = work.case
        try:
            facts, prepared = work.prepared.result()
            for index, network_input in prepared.items():
                self._run(case, index, network_input)
            self._result.facts[case.id] = facts
            self._take_stored(case, skip=work.lacking)
        except CaseError as error:
            self._exclude(error)
        except NeuroprintError:
            raise
        except Exception as error:
            raise NeuroprintError(f"case {case.id}: extraction failed: {type(error).__name__}: {error}") from error
        finally:
            work.lock.release()

    def _run(self, case: Case, index: int, network_input: NetworkInput) -> None:
        request = self._requests[index]
        extractor = request.extractor
        if extractor.kind not in self._forwards:
            self._forwards[extractor.kind] = extractor.encoder.load(self.device)
        vectors = extractor.vectors(network_input, self._forwards[extractor.kind], self.device)
        self._result.forwards[index] += 1
        # A pooling that fails on this map is no reason to lose the others.
        vectors = {name: vector for name, vector in vectors.items() if np.isfinite(vector).all()}
        unsound = [name for name in request.names if name not in vectors]
        if unsound:
            raise CaseError(
                case.id,
                f"NaN or infinite features ({', '.join(unsound[:3])}); check the scan, the encoder and the pooling",
            )
        content = self._prints[case.id].images
        stored = self.store.read(extractor.kind, content)
        merged = {**(stored.arrays if stored else {}), **vectors}
        self.store.write(extractor.kind, content, Entry(merged, {}))
        self._result.embeddings[index][case.id] = _concatenate(vectors, request.names)

    def _exclude(self, error: CaseError) -> None:
        if self.strict:
            raise error
        log.warning("left out: %s", error)
        _unusable[self._attempt(error.case)] = error.problem
        self._result.excluded[error.case] = error.problem

    def _known_unusable(self, case: Case) -> bool:
        """Whether an earlier job of this process found that the case cannot be used."""
        problem = None if self.strict else _unusable.get(self._attempt(case.id))
        if problem is not None:
            self._result.excluded[case.id] = problem
        return problem is not None

    def _attempt(self, case: str) -> tuple[str, ...]:
        return self._prints[case].case, *sorted(request.extractor.kind for request in self._requests)

    def _take_stored(self, case: Case, skip: Sequence[int] = ()) -> bool:
        """Take from the store what is there; True if that is everything."""
        facts = self._result.facts.get(case.id) or self._stored_facts(case)
        if facts is None:
            return False
        found = {
            index: stored
            for index in range(len(self._requests))
            if index not in skip and (stored := self._stored(case, index)) is not None
        }
        if len(found) + len(skip) < len(self._requests):
            return False
        self._result.facts[case.id] = facts
        for index, stored in found.items():
            self._result.embeddings[index][case.id] = _concatenate(stored, self._requests[index].names)
            self._result.cached[index] += 1
        return True

    def _stored(self, case: Case, index: int) -> dict[str, npt.NDArray[np.float32]] | None:
        """The stored vectors that a request needs of a case, or None where one is missing."""
        request = self._requests[index]
        entry = self.store.read(request.extractor.kind, self._prints[case.id].images)
        if entry is None or any(name not in entry.arrays for name in request.names):
            return None
        return entry.arrays

    def _stored_facts(self, case: Case) -> CaseFacts | None:
        entry = self.store.read(_FACTS, self._prints[case.id].case)
        return CaseFacts.from_arrays(entry.arrays, entry.note) if entry else None


_FACTS = f"facts/{FACTS_VERSION}"

# Why a case could not be used, by its content and the extractors: the jobs of a sweep need not read and report it again.
_unusable: dict[tuple[str, ...], str] = {}


def _concatenate(vectors: Mapping[str, npt.NDArray[np.float32]], names: Sequence[str]) -> npt.NDArray[np.float32]:
    return np.concatenate([np.asarray(vectors[name], np.float32).ravel() for name in names])
