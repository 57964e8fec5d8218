"""Runs in MLflow, in one SQLite file under ``mlruns/`` or on a server: safe for processes that start at once."""

from __future__ import annotations

import logging
import math
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

from filelock import FileLock

from neuroprint.catalog.redaction import redact_text
from neuroprint.data.digests import digest
from neuroprint.errors import NeuroprintError
from neuroprint.tracking.file_system import journal_mode
from neuroprint.tracking.provenance import code_tags
from neuroprint.tracking.server import check_server, refused

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

FINISHED_CANDIDATES = "tags.role = 'candidate' and attributes.status = 'FINISHED'"
_PAGE = 1000
SIGNIFICANT_DIGITS = 6  # more would only make the UI's tables harder to read


class TrackingStore:
    """Runs of one MLflow experiment, which MLflow's client alone reads and writes.

    Args:
        root: The ``mlruns`` folder: the SQLite file, where there is no server, and what is kept beside the runs.
        experiment: MLflow's experiment.
        server: Address of an MLflow server; None for the SQLite file.
        locks: Folder for locks, which all that share the runs have to see; by default in ``root``.
    """

    def __init__(self, root: Path, experiment: str, server: str | None = None, locks: Path | None = None) -> None:
        self.root = root.resolve()
        self.experiment = experiment
        self.server = server
        self._locks = (locks or self.root / "locks").resolve()
        self._opened: tuple[MlflowClient, str] | None = None
        self._fetched: tempfile.TemporaryDirectory[str] | None = None

    def of(self, experiment: str) -> TrackingStore:
        """The runs of another of MLflow's experiments in the same place."""
        return TrackingStore(self.root, experiment, self.server, self._locks)

    @property
    def uri(self) -> str:
        return self.server or f"sqlite:///{self.root / 'mlflow.db'}"

    def require(self) -> None:
        """Refuse a folder without a store, and a server that cannot be used.

        Raises:
            NeuroprintError: There is none, or it says why not.
        """
        self.check()
        if not self.exists:
            raise NeuroprintError(
                f"{self.root} holds no MLflow store: run python run.py first, or name its folder with --mlruns"
            )

    def check(self) -> None:
        """Refuse a server that cannot be used, at once: MLflow's client would try for minutes.

        Raises:
            NeuroprintError: It does not answer, refuses, or is of another version.
        """
        if self.server:
            check_server(self.server)

    def _answers(self) -> bool:
        """Whether the store can be told how a run ended; on a server that is gone, whoever goes on with the run tells it."""
        try:
            self.check()
        except NeuroprintError:
            return False
        return True

    @property
    def exists(self) -> bool:
        """Whether there is a SQLite file; of a server only asking tells."""
        return self.server is not None or (self.root / "mlflow.db").is_file()

    @property
    def holds(self) -> bool:
        """Whether what was opened is still there: somebody may have deleted the experiment, or the file, since."""
        if self._opened is None:
            return True
        self.check()
        if not self.exists:
            return False
        client, experiment_id = self._opened
        found = client.get_experiment_by_name(self.experiment)
        return found is not None and found.experiment_id == experiment_id and found.lifecycle_stage == "active"

    @property
    def client(self) -> MlflowClient:
        return self._open()[0]

    @property
    def experiment_id(self) -> str:
        return self._open()[1]

    def lock(self, name: str) -> FileLock:
        """A lock that a killed holder loses at once."""
        self._locks.mkdir(parents=True, exist_ok=True)
        # Where several servers share a folder for locks, each has its own.
        own = f"{digest(self.server)[:8]}-" if self.server else ""
        return FileLock(self._locks / f"{own}{name}.lock", thread_local=False)

    def _open(self) -> tuple[MlflowClient, str]:
        """The client and the experiment's id.

        What is missing is created under a lock: processes that migrate one new database side by side break it.
        """
        if self._opened is not None:
            return self._opened
        from mlflow import MlflowClient

        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
        self.check()
        with self.lock("store"):
            if not self.exists:
                create_database(self.root / "mlflow.db", self.root / "artifacts")
            registry = os.environ.get("MLFLOW_REGISTRY_URI") if self.server else None
            client = MlflowClient(tracking_uri=self.uri, registry_uri=registry or self.uri)
            experiment_id = self._experiment_of(client)
        self._opened = (client, str(experiment_id))
        return self._opened

    def _experiment_of(self, client: MlflowClient) -> str:
        """The experiment's id; made where there is none."""
        from mlflow.exceptions import MlflowException

        try:
            found = client.get_experiment_by_name(self.experiment)
        except MlflowException as error:
            if self.server and (status := _refusal(error)):
                raise NeuroprintError(refused(self.server, status)) from error
            raise
        if found is None:
            location = None if self.server else (self.root / "artifacts").as_uri()
            try:
                return str(client.create_experiment(self.experiment, artifact_location=location))
            except MlflowException:  # perhaps somebody whose locks lie elsewhere has just made it
                found = client.get_experiment_by_name(self.experiment)
                if found is None:
                    raise
        if found.lifecycle_stage != "active":
            raise NeuroprintError(
                f"the MLflow experiment '{self.experiment}' was deleted: restore it in the UI, or choose another "
                "name with tracking.experiment=NAME"
            )
        return str(found.experiment_id)

    def create(self, name: str, tags: Mapping[str, str], parent: str | None = None) -> str:
        """A new run, RUNNING; its id."""
        links = {"mlflow.parentRunId": parent} if parent else {}
        run = self.client.create_run(self.experiment_id, tags={**code_tags(), **tags, **links}, run_name=name)
        return str(run.info.run_id)

    def log(
        self,
        run_id: str,
        metrics: Mapping[str, float] | None = None,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        step: int = 0,
    ) -> None:
        """Metrics, parameters and tags in one batched write; metrics that are not finite are refused."""
        from mlflow.entities import Metric, Param, RunTag

        now = int(time.time() * 1000)
        unsound = [name for name, value in (metrics or {}).items() if not math.isfinite(value)]
        if unsound:
            raise ValueError(f"metrics must be finite; these are not: {', '.join(unsound)}")
        self.client.log_batch(
            run_id,
            metrics=[Metric(name, _rounded(value), now, step) for name, value in (metrics or {}).items()],
            params=[Param(name, str(value)) for name, value in (params or {}).items()],
            tags=[RunTag(name, value) for name, value in (tags or {}).items()],
        )

    def rename(self, run_id: str, name: str) -> None:
        """Call a run otherwise."""
        self.client.update_run(run_id, name=name)

    def log_dataset(self, run_id: str, name: str, digest: str, cases: int) -> None:
        """The cohort as MLflow's dataset input: no path, and no name of a person.

        Args:
            run_id: The run.
            name: Of the dataset.
            digest: Of the cohort.
            cases: How many there are.
        """
        import json

        from mlflow.entities import Dataset, DatasetInput, InputTag

        entity = Dataset(
            name=name,
            digest=digest[:16],
            source_type="local",
            source=json.dumps({"digest": digest}),
            profile=json.dumps({"cases": cases}),
        )
        self.client.log_inputs(run_id, [DatasetInput(entity, [InputTag("mlflow.data.context", "evaluation")])])

    def log_folder(self, run_id: str, folder: Path) -> None:
        """Every file below ``folder`` as artifacts, under their relative paths."""
        self.client.log_artifacts(run_id, str(folder))

    def end(self, run_id: str, status: str = "FINISHED") -> None:
        self.client.set_terminated(run_id, status)

    def reopen(self, run_id: str) -> None:
        """An ended run is RUNNING again."""
        self.client.update_run(run_id, status="RUNNING")

    def artifact(self, run: Run, path: str) -> Path:
        """A file of an artifact: where it lies on disk, or a copy, fetched once, of what lies on the server.

        Raises:
            NeuroprintError: It is not there.
        """
        from mlflow.exceptions import MlflowException

        place = urlparse(run.info.artifact_uri)
        file = Path(unquote(place.path)) / path
        if place.scheme in ("", "file") and (file.is_file() or not self.server):
            problem = None if file.is_file() else f"is missing from {file.parent}"
        else:
            if self._fetched is None:
                self._fetched = tempfile.TemporaryDirectory(prefix="neuroprint-artifacts-")
            # What is logged anew under an old name comes with a new end.
            folder = Path(self._fetched.name) / f"{run.info.run_id}-{run.info.end_time}"
            file, problem = folder / path, None
            if not file.is_file():
                folder.mkdir(parents=True, exist_ok=True)
                try:
                    self.client.download_artifacts(run.info.run_id, path, str(folder))
                except (MlflowException, OSError) as error:
                    problem = f"cannot be fetched ({' '.join(str(error).split())[:200]})"
        if problem:
            raise NeuroprintError(
                f"run {run.info.run_name} ({run.info.run_id}): its artifact {path} {problem}; "
                "repeat the run with resume=false"
            )
        return file

    def search(self, condition: str, most: int | None = None) -> list[Run]:
        """Runs that are not deleted, newest first; no more than ``most``."""
        return list(islice(self.each(condition, min(most or _PAGE, _PAGE)), most))

    def each(self, condition: str, page: int = _PAGE) -> Iterator[Run]:
        """As :meth:`search`, fetched page by page, for those who may stop early."""
        token = None
        while True:
            found = self.client.search_runs(
                [self.experiment_id],
                condition,
                max_results=page,
                order_by=["attributes.start_time DESC"],
                page_token=token,
            )
            yield from found
            token = found.token
            if not token:
                return

    def settled(self, identity: str) -> Run | None:
        """The newest finished run of an identity; what a process that died left RUNNING is marked KILLED.

        Call it while holding the identity's lock.
        """
        runs = self.search(f"tags.identity = '{identity}'")
        for run in runs:
            if run.info.status == "RUNNING":
                self.end(run.info.run_id, "KILLED")
        return next((run for run in runs if run.info.status == "FINISHED"), None)

    def candidates(self, group: str) -> list[Run]:
        """The finished candidates of a group, newest first."""
        return self.search(f"{FINISHED_CANDIDATES} and tags.group = '{group}'")

    def references(self, group: str) -> dict[str, Run]:
        """The newest finished reference rows of a group, by their name."""
        rows: dict[str, Run] = {}
        condition = f"tags.group = '{group}' and tags.role = 'reference' and attributes.status = 'FINISHED'"
        for run in self.search(condition):
            rows.setdefault(run.data.tags["reference"], run)
        return rows

    def untrained(self, group: str) -> list[Run]:
        """The finished reference rows ``untrained`` of a group, which has one for each best candidate it ever had."""
        condition = f"tags.group = '{group}' and tags.reference = 'untrained' and attributes.status = 'FINISHED'"
        return self.search(condition)

    @contextmanager
    def running(self, run_id: str, whole: bool = True) -> Iterator[None]:
        """End the run as FINISHED, FAILED or KILLED, whichever way the block is left.

        Args:
            run_id: The run.
            whole: Whether the block's end is the run's; if not, the run is left KILLED, to be gone on with.
        """
        try:
            yield
        except Exception as error:
            # Only our own messages are known to hold no name from a header.
            text = redact_text(str(error)) if isinstance(error, NeuroprintError) else "see the log of the run"
            if self._answers():
                self.log(run_id, tags={"error": f"{type(error).__name__}: {text}"[:4000]})
                self.end(run_id, "FAILED")
            raise
        except BaseException:
            if self._answers():
                self.end(run_id, "KILLED")
            raise
        self.end(run_id, "FINISHED" if whole else "KILLED")


def _refusal(error: Exception) -> int | None:
    """The status with which a server refused to be asked."""
    found = re.search(r"error code (401|403)", str(error))
    return int(found[1]) if found else None


def _rounded(value: float) -> float:
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}")


def create_database(path: Path, artifacts: Path) -> None:
    """MLflow's database, made beside and renamed into place: a process killed meanwhile leaves none, not half of one."""
    import sqlite3

    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    unfinished = path.with_suffix(".unfinished")
    for leftover in path.parent.glob(f"{unfinished.name}*"):
        leftover.unlink()
    SqlAlchemyStore(f"sqlite:///{unfinished}", artifacts.as_uri()).engine.dispose()
    with closing(sqlite3.connect(unfinished)) as connection:
        # With the write-ahead log readers do not wait for a writer; the file remembers it.
        connection.execute(f"PRAGMA journal_mode={journal_mode(path.parent)}")
    unfinished.rename(path)
