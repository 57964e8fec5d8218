"""Extraction: each scan is read once and passes through each network once, whatever is swept."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout
from threadpoolctl import threadpool_limits

from neuroprint.data.case import Case
from neuroprint.data.case_facts import CaseFacts
from neuroprint.data.cohort import Cohort
from neuroprint.data.labels import AUTO, label_doubts
from neuroprint.embedding.entry import Entry
from neuroprint.embedding.extractor import Extractor, Pooled
from neuroprint.embedding.preprocessing import NetworkInput
from neuroprint.embedding.reading import Prepared, Reader, Request
from neuroprint.embedding.store import FeatureStore
from neuroprint.errors import CaseError, NeuroprintError

if TYPE_CHECKING:
    from tqdm import tqdm

    from neuroprint.encoders.base import Forward

log = logging.getLogger(__name__)


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


class _VectorError(CaseError):
    """The scan can be used, but not for what was asked: another pooling may do."""


@dataclass
class _Work:
    """One claimed case: its lock is held until what was missing has been written."""

    case: Case
    lock: FileLock
    prepared: Future[Prepared]

    @property
    def shapes(self) -> dict[int, tuple[int, ...]] | None:
        """Of what is to go through the networks; None while it is not known, or where the case cannot be read."""
        ready = self.prepared.done() and self.prepared.exception() is None
        return self.prepared.result().shapes if ready else None


class Extract:
    """Computes what the store lacks, case by case, side by side with any other process that does the same.

    Args:
        store: Where facts, vectors and maps are kept.
        device: Torch device of the networks; ``auto`` is a GPU where PyTorch finds one, looked for once there is something
            to compute: loading PyTorch takes longer than reading a stored cohort.
        readers: Scans that are read and prepared while the network runs, which with ``batch`` bounds the memory; by
            default 2, and beside a GPU as many as there are cores, up to 16. No number depends on it.
        batch: Most cases of one shape that go through the network together; by default 1, and 4 on a GPU.
    """

    def __init__(
        self,
        store: FeatureStore,
        device: str,
        readers: int | None = None,
        batch: int | None = None,
    ) -> None:
        self.store = store
        self.device = device
        self._asked = readers, batch
        self._forwards: dict[str, Forward] = {}

    def __call__(self, cohort: Cohort, requests: Sequence[Request]) -> Extraction:
        """Facts and embeddings of every sound case.

        Raises:
            CaseError: Of a strict cohort, the first case that cannot be used.
        """
        self._strict = cohort.strict
        self._reader = Reader(self.store, cohort.digests, requests)
        self._requests = requests
        self._result = Extraction(
            embeddings=[{} for _ in requests], forwards=[0] * len(requests), cached=[0] * len(requests)
        )
        started = time.perf_counter()
        pending = deque(case for case in cohort.cases if not self._known_unusable(case) and not self._take_stored(case))
        if pending:
            self._compute(pending, total=len(cohort))
            self._say_label_doubts(cohort)
        self._result.seconds = time.perf_counter() - started
        return self._result

    def _say_label_doubts(self, cohort: Cohort) -> None:
        if (cohort.format or {}).get("labels") != AUTO:
            return
        facts = self._result.facts
        for case, doubt in label_doubts(
            (id_, of.label_convention, of.label_moments) for id_, of in facts.items()
        ).items():
            log.warning("case %s: %s", case, doubt)

    def _compute(self, pending: deque[Case], total: int) -> None:
        from tqdm import tqdm

        self.device = resolve_device(self.device)
        gpu = self.device.startswith("cuda")
        readers, batch = self._asked
        self._readers = readers or min(16 if gpu else 2, _cores())
        self._batch = batch or (4 if gpu else 1)
        self.store.tidy()
        for request in self._requests:
            self.store.describe(request.extractor.kind, request.extractor.description)
        log.info("extracting %d of %d cases (%d stored)", len(pending), total, total - len(pending))
        in_flight: deque[_Work] = deque()
        pool = ThreadPoolExecutor(self._readers, thread_name_prefix="reader")
        bar = tqdm(total=total, initial=total - len(pending), desc="extracting", unit="case", dynamic_ncols=True)
        # Readers are threads already: where NumPy spread each over all cores, they would only wait for each other.
        one_thread_each = threadpool_limits(1, user_api="blas")
        try:
            while pending or in_flight:
                while pending and len(in_flight) < self._readers + self._batch:
                    work = self._claim(pending, pool, bar, idle=not in_flight)
                    if work is None:
                        break
                    in_flight.append(work)
                if in_flight:
                    group = self._next_group(in_flight)
                    self._finish(group)
                    bar.update(len(group))
        finally:
            for work in in_flight:
                work.prepared.cancel()
                work.lock.release()
            pool.shutdown(wait=True, cancel_futures=True)
            one_thread_each.restore_original_limits()
            bar.close()

    def _claim(self, pending: deque[Case], readers: ThreadPoolExecutor, bar: tqdm[None], idle: bool) -> _Work | None:
        """The next case that nobody else works on, being read; None where others hold all that is left."""
        for _ in range(len(pending)):
            case = pending.popleft()
            lock = self.store.lock(self._reader.digests[case.id].images)
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
            return _Work(case, lock, readers.submit(self._reader.prepare, case, self._reader.lacking(case)))
        if pending and idle:
            time.sleep(0.1)
        return None

    def _next_group(self, in_flight: deque[_Work]) -> list[_Work]:
        """The case that was claimed first, and those of its shape that are read already."""
        group = [in_flight.popleft()]
        if self._batch > 1:
            wait([group[0].prepared])
            alike = [work for work in in_flight if work.shapes is not None and work.shapes == group[0].shapes]
            for work in alike[: self._batch - 1]:
                in_flight.remove(work)
                group.append(work)
        return group

    def _finish(self, group: Sequence[_Work]) -> None:
        """Run the networks on cases that were read, store what they give, and give the cases back."""
        read: dict[str, Prepared] = {}
        try:
            for work in group:
                with self._blaming(work.case):
                    read[work.case.id] = work.prepared.result()
            for index in sorted({index for prepared in read.values() for index in prepared.inputs}):
                cases = [work.case for work in group if work.case.id in read and index in read[work.case.id].inputs]
                with self._blaming(*cases):
                    self._run(cases, index, [read[case.id].inputs[index] for case in cases])
            for work in group:
                if work.case.id in read:
                    with self._blaming(work.case):
                        self._settle(work, read[work.case.id])
        finally:
            for work in group:
                work.lock.release()

    def _run(self, cases: Sequence[Case], index: int, inputs: Sequence[NetworkInput]) -> None:
        extractor = self._requests[index].extractor
        if extractor.network not in self._forwards:
            self._forwards[extractor.network] = extractor.encoder.load(self.device)
        for case, pooled in zip(cases, self._pass(extractor, inputs), strict=True):
            self._result.forwards[index] += 1
            with self._blaming(case):
                if pooled.maps is not None:
                    self.store.write(extractor.maps_kind, self._content(case), pooled.maps)
                self._add(case, index, pooled)

    def _pass(self, extractor: Extractor, inputs: Sequence[NetworkInput]) -> list[Pooled]:
        """Cases through a network together, or one by one where the GPU's memory does not hold them all."""
        import torch

        forward = self._forwards[extractor.network]
        keep_mb = 0.0 if extractor.perturbation else self.store.keep_maps_mb  # many perturbations would fill the disk
        try:
            return extractor.run(inputs, forward, self.device, keep_mb)
        except torch.OutOfMemoryError:
            if len(inputs) == 1:
                raise
        log.info("%d cases at once do not fit into the GPU's memory: going on one by one", len(inputs))
        self._batch = 1
        return [pooled for one in inputs for pooled in extractor.run([one], forward, self.device, keep_mb)]

    def _add(self, case: Case, index: int, pooled: Pooled) -> None:
        """Merge a case's new vectors into the store, and take what the request needs.

        Raises:
            CaseError: Of these, one is not finite, or its pooling raised.
        """
        request, content = self._requests[index], self._content(case)
        # A pooling that fails on this map is no reason to lose the others.
        sound = {name: vector for name, vector in pooled.vectors.items() if np.isfinite(vector).all()}
        stored = self.store.read(request.extractor.kind, content)
        merged = {**(stored.arrays if stored else {}), **sound}
        self.store.write(request.extractor.kind, content, Entry(merged, {}))
        failed = next((pooled.failed[name] for name in request.names if name in pooled.failed), None)
        if failed is not None:
            raise _VectorError(case.id, f"pooling {request.pooling} failed ({failed}); check the pooling")
        unsound = [name for name in request.names if name not in merged]
        if unsound:
            raise _VectorError(
                case.id,
                f"NaN or infinite features ({', '.join(unsound[:3])}); check the scan, the encoder and the pooling",
            )
        self._result.embeddings[index][case.id] = request.vector(merged)

    def _content(self, case: Case) -> str:
        content = self._reader.content(case)
        assert content is not None  # noqa: S101 # what is to be stored was read, and its facts with it
        return content

    def _settle(self, work: _Work, prepared: Prepared) -> None:
        """Put down what the case gave, by network, from kept maps or from the store."""
        case = work.case
        for index, pooled in prepared.pooled.items():
            self._add(case, index, pooled)
            self._result.cached[index] += 1
        if case.id not in self._result.excluded:
            self._result.facts[case.id] = prepared.facts
            self._take_stored(case, skip=[*prepared.inputs, *prepared.pooled])

    @contextmanager
    def _blaming(self, *cases: Case) -> Iterator[None]:
        """Leave out a case that cannot be used; whatever else goes wrong is said with the case's name."""
        try:
            yield
        except CaseError as error:
            self._exclude(error)
        except NeuroprintError:
            raise
        except Exception as error:
            names = f"case{'s' if len(cases) > 1 else ''} {', '.join(case.id for case in cases)}"
            raise NeuroprintError(f"{names}: extraction failed: {type(error).__name__}: {error}") from error

    def _exclude(self, error: CaseError) -> None:
        if self._strict:
            raise error
        log.warning("left out: %s", error)
        self.store.unusable[self._attempt(error.case, vectors=isinstance(error, _VectorError))] = error.problem
        self._result.excluded[error.case] = error.problem

    def _known_unusable(self, case: Case) -> bool:
        """Whether an earlier extraction of this process found that the case cannot be used."""
        attempts = () if self._strict else (self._attempt(case.id, vectors) for vectors in (False, True))
        problem = next((found for key in attempts if (found := self.store.unusable.get(key)) is not None), None)
        if problem is not None:
            self._result.excluded[case.id] = problem
        return problem is not None

    def _attempt(self, case: str, vectors: bool) -> tuple[str, ...]:
        """What was tried: to read the case for these extractors, or to get these vectors of it."""
        asked = {request.extractor.kind: request.names if vectors else () for request in self._requests}
        return self._reader.digests[case].case, *sorted(f"{kind} {' '.join(names)}" for kind, names in asked.items())

    def _take_stored(self, case: Case, skip: Sequence[int] = ()) -> bool:
        """Take from the store what is there; True if that is everything."""
        facts = self._result.facts.get(case.id) or self._reader.facts(case)
        if facts is None:
            return False
        found = {
            index: stored
            for index in range(len(self._requests))
            if index not in skip and (stored := self._reader.vectors(case, index)) is not None
        }
        if len(found) + len(skip) < len(self._requests):
            return False
        self._result.facts[case.id] = facts
        for index, stored in found.items():
            self._result.embeddings[index][case.id] = self._requests[index].vector(stored)
            self._result.cached[index] += 1
        return True


def resolve_device(device: str) -> str:
    """``auto`` becomes ``cuda`` where PyTorch finds a GPU, and ``cpu`` elsewhere."""
    if device != "auto":
        return device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _cores() -> int:
    """Cores that this process may use, which on a cluster are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
