"""The MLflow store under ``mlruns/``: one SQLite file, safe for processes that start at once, written once a run."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from neuroprint.catalog.redaction import redact_text
from neuroprint.errors import NeuroprintError
from neuroprint.tracking.file_system import journal_mode
from neuroprint.tracking.provenance import code_tags

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

FINISHED_CANDIDATES = "tags.role = 'candidate' and attributes.status = 'FINISHED'"
SIGNIFICANT_DIGITS = 6  # more would only make the UI's tables harder to read


class TrackingStore:
    """Runs of one MLflow experiment.

    Args:
        root: The ``mlruns`` folder.
        experiment: MLflow's experiment.
    """

    def __init__(self, root: Path, experiment: str) -> None:
        self.root = root.resolve()
        self.experiment = experiment
        self._opened: tuple[MlflowClient, str] | None = None

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.root / 'mlflow.db'}"

    def require(self) -> None:
        """Refuse a folder without a store.

        Raises:
            NeuroprintError: There is none.
        """
        if not self.exists:
            raise NeuroprintError(
                f"{self.root} holds no MLflow store: run python run.py first, or name its folder with --mlruns"
            )

    @property
    def exists(self) -> bool:
        return (self.root / "mlflow.db").is_file()

    @property
    def holds(self) -> bool:
        """Whether what was opened is still there: somebody may have deleted the experiment, or the file, since."""
        if self._opened is None:
            return True
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
        folder = self.root / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / f"{name}.lock", thread_local=False)

    def _open(self) -> tuple[MlflowClient, str]:
        """The client and the experiment's id.

        What is missing is created under a lock: processes that migrate one new database side by side break it.
        """
        if self._opened is not None:
            return self._opened
        from mlflow import MlflowClient

        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
        with self.lock("store"):
            if not self.exists:
                create_database(self.root / "mlflow.db", self.root / "artifacts")
            client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
            found = client.get_experiment_by_name(self.experiment)
            if found is None:
                location = (self.root / "artifacts").as_uri()
                experiment_id = client.create_experiment(self.experiment, artifact_location=location)
            elif found.lifecycle_stage != "active":
                raise NeuroprintError(
                    f"the MLflow experiment '{self.experiment}' was deleted: restore it in the UI, or choose another "
                    "name with tracking.experiment=NAME"
                )
            else:
                experiment_id = found.experiment_id
        self._opened = (client, str(experiment_id))
        return self._opened

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
        """Where an artifact lies on disk.

        Raises:
            NeuroprintError: It is not there.
        """
        from urllib.parse import unquote, urlparse

        file = Path(unquote(urlparse(run.info.artifact_uri).path)) / path
        if not file.is_file():
            raise NeuroprintError(
                f"run {run.info.run_name} ({run.info.run_id}): its artifact {path} is missing from {file.parent}; "
                "repeat the run with resume=false"
            )
        return file

    def search(self, condition: str, most: int = 50_000) -> list[Run]:
        """Runs that are not deleted, newest first."""
        found: list[Run] = []
        token = None
        while len(found) < most:
            page = self.client.search_runs(
                [self.experiment_id],
                condition,
                max_results=min(1000, most - len(found)),
                order_by=["attributes.start_time DESC"],
                page_token=token,
            )
            found.extend(page)
            token = page.token
            if not token:
                break
        return found

    def settled(self, identity: str) -> Run | None:
        """The newest finished run of an identity; what a process that died left RUNNING is marked KILLED.

        Call it while holding the identity's lock.
        """
        runs = self.search(f"tags.identity = '{identity}'")
        for run in runs:
            if run.info.status == "RUNNING":
                self.end(run.info.run_id, "KILLED")
        return next((run for run in runs if run.info.status == "FINISHED"), None)

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
            self.log(run_id, tags={"error": f"{type(error).__name__}: {text}"[:4000]})
            self.end(run_id, "FAILED")
            raise
        except BaseException:
            self.end(run_id, "KILLED")
            raise
        self.end(run_id, "FINISHED" if whole else "KILLED")


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
