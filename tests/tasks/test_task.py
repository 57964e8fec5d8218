"""What holds for every task, and for one of one's own."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest

import neuroprint as npr
from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.benchmark import Benchmark, Protocol
from neuroprint.evaluation.classification import CLASS_METRICS
from neuroprint.evaluation.metric import RetrievalMetric
from neuroprint.evaluation.question import Question, equal_classes
from neuroprint.tasks import Composition, Metadata, Overlap, Region, Side, Survival, TumorPosition, TumorVolume
from neuroprint.tasks.task import Task

QUICK = Protocol()
SHARES = {"retrieval/p_at_5_share", "retrieval/map_share", "retrieval/ndcg_at_10_share"}

TASKS = [
    TumorPosition(radius_mm=25),
    TumorPosition(region="enhancing", weighting="label", frame="brain"),
    Side(),
    Overlap(min_dice=0.1),
    Metadata(column="group"),
    Metadata(column="number"),
    TumorVolume(),
    TumorVolume(region="enhancing", ratio=2),
    Composition(),
    Region(),
    Region(by="hemisphere"),
    Survival(time="days", event="died"),
]
BY_NAME = pytest.mark.parametrize("task", TASKS, ids=lambda task: f"{task.name} {task.relevance}")


def _cell(*place: int) -> int:
    """The number of one of 32 x 32 x 32 cells, for a place among 12 x 12 x 12."""
    x, y, z = (int(along) * 31 // 11 for along in place)
    return (x * 32 + y) * 32 + z


@pytest.fixture
def question(located):
    """What a task asks of sixty cases of thirty patients."""

    def ask(task: Task) -> Question:
        rng = np.random.default_rng(0)
        centers = rng.normal(size=(60, 3)) * [30.0, 35.0, 20.0]
        # A tumor fills cells of a coarse brain about its center.
        corner = np.clip(((centers + 100) / 200 * 12).astype(int), 0, 9)
        cells = [
            {_cell(x + i, y + j, z + k): 255 for i in range(3) for j in range(3) for k in range(3)}
            for x, y, z in corner
        ]
        columns = {
            "group": rng.choice(["a", "b", "c"], 60).tolist(),
            "number": np.round(rng.normal(size=60), 1).tolist(),
            "days": rng.exponential(300, 60).tolist(),
            "died": (rng.random(60) < 0.7).tolist(),
        }
        voxels = [{1: int(a), 2: int(b), 4: int(c)} for a, b, c in 10 ** rng.uniform(3, 5, (60, 3))]
        patients = [f"p{n // 2:02d}" for n in range(60)]
        cases, facts = located(centers, patients=patients, cells=cells, metadata=columns, voxels=voxels)
        if isinstance(task, TumorPosition) and task.region == "enhancing":
            facts = {
                case: replace(found, label_moments={4: found.label_moments[1], 2: (5, (0.0, 0.0, 0.0))})
                for case, found in facts.items()
            }
        return task.question(cases, facts, "world")

    return ask


@BY_NAME
def test_the_share_of_the_oracle_is_1_and_that_of_chance_0(question, task):
    benchmark = Benchmark(question(task), QUICK)
    oracle, chance = benchmark.oracle, benchmark.chance
    assert set(oracle.metrics) >= SHARES
    for name in SHARES:
        assert oracle.metrics[name] == pytest.approx(1.0)
        assert chance.metrics[name] == 0.0
    assert (
        oracle.metrics["retrieval/map"] == oracle.metrics["retrieval/p_at_1"] == oracle.metrics["retrieval/mrr"] == 1.0
    )
    assert chance.metrics["retrieval/map"] < 0.9


@BY_NAME
def test_without_its_ideal_a_task_has_no_share(question, task):
    benchmark = Benchmark(replace(question(task), ideal=None), QUICK)
    found = benchmark.score(np.random.default_rng(1).normal(size=(60, 5)))
    assert benchmark.oracle is None
    assert not SHARES & {*found.metrics, *found.undefined, *benchmark.chance.metrics, *benchmark.chance.undefined}
    assert not SHARES & {record["name"] for record in found.queries.attrs["metrics"]}


@BY_NAME
def test_the_ideal_ranking_puts_what_is_relevant_first(question, task):
    found = question(task)
    every = np.arange(60)
    judged, ideal = found.judged(every, every), found.ideal(every, every)
    others = np.array(found.patients)[:, None] != np.array(found.patients)
    for row in every:
        relevant, not_relevant = judged.relevant[row], others[row] & ~judged.relevant[row]
        if relevant.any() and not_relevant.any():
            assert ideal[row, relevant].min() > ideal[row, not_relevant].max()
    assert not judged.relevant[~others].any() and not judged.gain[~others].any()
    assert ((judged.gain >= 0) & (judged.gain <= 1)).all() and (judged.gain[judged.relevant] > 0).all()


@BY_NAME
def test_relevance_is_mutual(question, task):
    every = np.arange(60)
    judged = question(task).judged(every, every)
    assert judged.relevant.any() and np.array_equal(judged.relevant, judged.relevant.T)


@BY_NAME
def test_embeddings_that_know_the_targets_are_read_by_the_probe(question, task):
    asked = question(task)
    rng = np.random.default_rng(2)
    vectors = asked.targets @ rng.normal(size=(asked.targets.shape[1], 8)) + 0.01 * rng.normal(size=(60, 8))
    metrics = Benchmark(asked, QUICK).score(vectors).metrics
    least = 0.85 if len(asked.target_names) == 8 else 0.95  # of eight parts of the brain some hold few patients
    assert metrics.get("probe/r2", metrics.get("probe/auc", metrics.get("probe/concordance"))) > least


@BY_NAME
def test_parameters_and_identity_are_kept_as_json(task):
    for kept in (task.parameters(), task.identity("world")):
        assert json.loads(json.dumps(kept)) == kept
    assert task.identity("world")["task"] == f"{type(task).__module__}.{type(task).__name__}"
    assert type(task)(**task.parameters()) == task


def test_what_changes_no_number_changes_no_identity():
    assert TumorPosition(radius_mm=20).identity("world") == TumorPosition(radius_mm=20.0).identity("world")
    assert TumorPosition().identity("world") == TumorPosition(frame="world").identity("world")
    assert TumorPosition().identity("brain") == TumorPosition(frame="brain").identity("world")
    assert Overlap(min_dice=1).identity("world") == Overlap(min_dice=1.0).identity("world")
    assert TumorVolume(ratio=2).identity("world") == TumorVolume(ratio=2.0).identity("brain")


def test_what_changes_a_number_changes_the_identity():
    metric = hit_at("retrieval/hit_at_2")
    tasks = [
        *TASKS,
        TumorPosition(),
        TumorPosition(frame="brain"),
        TumorPosition(region="tumor_core"),
        TumorPosition(weighting="label"),
        TumorPosition(extra_metrics=[metric]),
        Side(region="tumor_core"),
        Overlap(),
        Metadata(column="group", kind="numbers"),
        TumorVolume(ratio=3),
        Composition(within=0.2),
        Region(region="tumor_core"),
        Survival(time="days", event="died", ratio=2),
        Survival(time="months", event="died"),
    ]
    assert len({str(task.identity("world")) for task in tasks}) == len(tasks)
    assert TumorPosition().identity("world") != TumorPosition().identity("brain")

    class Newer(TumorPosition):
        version = 2

    assert Newer().identity("world")["version"] == 2


def hit_at(name: str) -> RetrievalMetric:
    return RetrievalMetric(
        name,
        "a hit among the first two",
        of_query=lambda ranked: ranked.relevant[:, :2].any(axis=1).astype(float),
        expected=lambda judged: np.full(len(judged.count), np.nan),
    )


@pytest.mark.parametrize("make", [TumorPosition, Side, Overlap, TumorVolume, Composition, Region])
def test_a_task_takes_further_metrics(question, make):
    task = make(extra_metrics=[hit_at("retrieval/hit_at_2")])
    assert task.parameters()["extra_metrics"] == ["retrieval/hit_at_2"]
    found = Benchmark(question(task), QUICK).score(np.random.default_rng(1).normal(size=(60, 5)))
    assert found.metrics["retrieval/hit_at_2"] == pytest.approx(found.queries["hit_at_2"].mean())
    assert "retrieval/hit_at_2" in {record["name"] for record in found.queries.attrs["metrics"]}


def test_two_metrics_of_one_name_are_refused(question):
    with pytest.raises(NeuroprintError, match=r"task\.extra_metrics: there is a metric retrieval/map already"):
        question(TumorPosition(extra_metrics=[hit_at("retrieval/map")]))


def test_no_task_can_be_changed():
    with pytest.raises(AttributeError):
        TumorPosition().radius_mm = 30


@dataclass(frozen=True, kw_only=True)
class Parity(Task):
    """Whether a case's number is even; whoever sees the question sees that cases were sorted."""

    of: int = 2

    name = "parity"
    needs_scans = False

    @property
    def relevance(self) -> str:
        return f"whose number leaves the same rest by {self.of}"

    def why_not(self, case, facts):
        return "its number is unlucky" if case.id.endswith("7") else None

    def question(self, cases, facts, frame):
        assert [case.id for case in cases] == sorted(case.id for case in cases) and not facts
        codes = np.array([int(case.id[-1]) % self.of for case in cases])
        judge, ideal = equal_classes(codes)
        return Question(
            tuple(case.id for case in cases),
            tuple(case.patient for case in cases),
            np.eye(self.of)[codes],
            tuple(f"rest {rest}" for rest in range(self.of)),
            judge,
            self.metrics(CLASS_METRICS),
            ideal,
        )


def test_a_task_of_ones_own_is_asked_like_any_other(cohort):
    backwards = replace(cohort, cases=cohort.cases[::-1])
    knowing = {case.id: np.eye(2)[int(case.id[-1]) % 2] for case in cohort.cases}
    result = npr.evaluate(npr.Embeddings(backwards, knowing), Parity(), folds=3)
    assert (
        result.metrics["retrieval/map"] == result.metrics["probe/auc"] == result.metrics["retrieval/map_share"] == 1.0
    )
    assert result.excluded == {"Small_00007": "its number is unlucky"} and len(result.ids) == 9
    assert set(result.references) == {"chance", "voxels", "oracle"}
    assert "whose number leaves the same rest by 2" in str(result)
    assert "probe" not in result.figures()
