"""What a process remembers between the jobs of a sweep. It is passed on; nothing else keeps the state of a process."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuroprint.catalog.gate import Gate
from neuroprint.catalog.instantiate import instantiate, plain
from neuroprint.catalog.menu import Catalog, Part
from neuroprint.data.load import load_cohort
from neuroprint.embedding.embed import check_perturbation
from neuroprint.embedding.recipe import menu_poolings
from neuroprint.embedding.store import FeatureStore
from neuroprint.tasks.evaluate import Exams, check_question
from neuroprint.tracking.server import server_or_folder
from neuroprint.tracking.store import TrackingStore

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from neuroprint.data.cohort import Cohort
    from neuroprint.embedding.poolings import Pooling
    from neuroprint.experiment.experiment import Experiment
    from neuroprint.experiment.sweep import Sweep

log = logging.getLogger(__name__)


class Session:
    """The state of one process.

    Args:
        more: Folders with further choices, laid out like conf/.

    Attributes:
        catalog: The menu.
        exams: What results of one question share.
        logged: Identities of the runs that this process has logged: with ``resume=false`` too, jobs of one sweep that come to
            the same run once.
        referenced: Leaderboards whose reference rows this process has seen to.
        sweep: The sweep that this process started, if it did.
        warned: What was said already and need not be repeated by every job.
    """

    def __init__(self, more: Sequence[Path | str] = ()) -> None:
        self.catalog = Catalog(more)
        self.exams = Exams()
        self.logged: set[str] = set()
        self.referenced: set[tuple[object, ...]] = set()
        self.sweep: Sweep | None = None
        self.warned: set[str] = set()
        self._features: dict[tuple[str, float], FeatureStore] = {}
        self._tracking: dict[tuple[str | None, Path, str], TrackingStore] = {}
        self._cohorts: dict[str, Cohort] = {}
        self._checked: set[str] = set()
        self._parts: dict[str, Part] = {}
        self._poolings: dict[str, Pooling] | None = None

    def use_folders(self, more: Sequence[Path | str]) -> None:
        """Take further choices from these folders, where that is not so already."""
        if [str(folder) for folder in self.catalog.folders[1:]] != [str(folder) for folder in more]:
            self.catalog = Catalog(more)
            self._poolings = None

    def warn(self, text: str) -> None:
        """Log a warning, unless another job of this process has."""
        if text not in self.warned:
            self.warned.add(text)
            log.warning("%s", text)

    def features(self, store: Any) -> FeatureStore:
        """The feature store of ``store=...``; one a process, which remembers what it has read."""
        key = str(store.root), float(store.keep_maps)
        if key not in self._features:
            self._features[key] = FeatureStore(Path(key[0]).expanduser(), key[1])
        return self._features[key]

    def tracking(self, config: Any) -> TrackingStore:
        """The store of ``tracking=...``; one a process, since connecting anew takes as long as logging a run.

        Those who share a server share the feature store, so that its folder is the place for locks.

        Args:
            config: Of an experiment, a sweep or a training.

        Raises:
            NeuroprintError: There is no such store, or its server cannot be used.
        """
        server, folder = server_or_folder(config.tracking.uri, Path(config.tracking.root).expanduser())
        place = server, folder.resolve(), str(config.tracking.experiment)
        if place not in self._tracking or not self._tracking[place].holds:
            shared = config.store.root if "store" in config else config.cache
            locks = Path(shared).expanduser() / "locks" if server else None
            self._tracking[place] = TrackingStore(folder, place[-1], server, locks)
        return self._tracking[place]

    def cohort(self, experiment: Experiment) -> Cohort:
        """The cohort of an experiment, found once a process, and checked to be one that the task can be asked of.

        Raises:
            NeuroprintError: There is no such dataset, or it cannot be asked.
        """
        config = experiment.config
        node = plain(config.dataset)
        key = json.dumps(node, sort_keys=True, default=str)
        if key not in self._cohorts:
            self._cohorts[key] = load_cohort(node, store=str(config.store.root), gate=experiment.gate)
        cohort = self._cohorts[key]
        asked = json.dumps(
            [
                key,
                experiment.task.identity(cohort.frame),
                plain(config.perturb),
                config.folds,
                config.seed,
                str(config.holdout),
            ],
            default=str,
        )
        if asked not in self._checked:
            check_question(experiment.task, cohort, config.folds, config.seed, config.holdout)
            check_perturbation(experiment.recipe, cohort)
            self._checked.add(asked)
        return cohort

    def part(self, group: str, name: str, node: DictConfig, gate: Gate | None = None) -> Part:
        """A choice of a configuration, built once a process."""
        content = plain(node)
        key = json.dumps([group, name, content], sort_keys=True, default=str)
        if key not in self._parts:
            self._parts[key] = Part(name, content, instantiate(content, group, gate))
        return self._parts[key]

    def poolings(self) -> Mapping[str, Pooling]:
        """Every pooling in conf/pooling, by canonical name; read once a process."""
        if self._poolings is None:
            self._poolings = menu_poolings(self.catalog)
        return self._poolings


_SESSION: ContextVar[Session | None] = ContextVar("neuroprint_session", default=None)


def current_session() -> Session:
    """The session of this process, for those whom Hydra calls: it hands over nothing of ours. All others are passed it."""
    session = _SESSION.get()
    if session is None:
        session = Session()
        _SESSION.set(session)
    return session
