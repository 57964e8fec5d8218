"""A confound is scored as any column is, and is the better the less is told of it, wherever that is shown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import neuroprint as npr
from neuroprint.data.case import Case
from neuroprint.data.cohort import Cohort
from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.benchmark import Benchmark, Protocol
from neuroprint.evaluation.question import Question
from neuroprint.tasks import Metadata, TumorPosition
from neuroprint.tasks.leaderboard import Leaderboard, metrics_of

P, DELTA, AUC = "retrieval/p_at_5", "retrieval/cliffs_delta", "probe/auc"
N = 60
SITE = np.random.default_rng(7).permutation(np.arange(N) % 3)
CONFOUND = Metadata(column="site", confound=True)


class Made(Cohort):
    """A cohort whose files need not be there."""

    digest = "abc"
    modalities = ("flair",)


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    cases = [Case(f"case-{n:05d}", f"patient-{n:05d}", {}, metadata={"site": "ABC"[SITE[n]]}) for n in range(N)]
    return Made("made", tuple(cases))


def asked(cohort: Cohort, task: Metadata = CONFOUND) -> Question:
    return task.question(cohort.cases, {}, "world")


def embeddings(cohort: Cohort, vectors: np.ndarray) -> npr.Embeddings:
    rows = dict(zip((case.id for case in cohort.cases), vectors, strict=True))
    return npr.Embeddings(cohort, rows, "euclidean")


def telling(strength: float, seed: int = 0) -> np.ndarray:
    """Vectors that tell the site so strongly, among noise."""
    return strength * np.eye(3)[SITE] + np.random.default_rng(seed).normal(size=(N, 3))


@pytest.fixture(scope="module")
def board(cohort: Cohort) -> Leaderboard:
    results = [
        npr.evaluate(
            embeddings(cohort, telling(strength)),
            CONFOUND,
            holdout=0,
            permutations=99,
            references=("chance", "oracle"),
            name=name,
        )
        for name, strength in (("little", 0.0), ("much", 6.0), ("some", 1.5))
    ]
    return npr.compare(results)


def test_every_direction_is_turned_and_stands_in_the_runs_own_record(cohort):
    usual, turned = (asked(cohort, task).metrics for task in (Metadata(column="site"), CONFOUND))
    by_name = {metric.name: metric for metric in turned}
    assert set(by_name) == {metric.name for metric in usual} | {DELTA}
    for metric in usual:
        assert by_name[metric.name].lower_is_better != metric.lower_is_better and not metric.confound
    table = Benchmark(asked(cohort), Protocol()).chance.queries
    kept = metrics_of(table)
    assert all(metric.confound and metric.lower_is_better for metric in kept.values())
    assert kept[f"{P}_share"].lower_is_better


def test_of_a_number_a_small_error_tells_much_and_is_worse():
    values = np.random.default_rng(0).normal(size=20)
    cases = [Case(f"c{n:02d}", f"p{n:02d}", {}, metadata={"tesla": value}) for n, value in enumerate(values)]
    found = {one.name: one for one in Metadata(column="tesla", confound=True).question(cases, {}, "world").metrics}
    assert found["probe/r2"].lower_is_better and not found["probe/mae"].lower_is_better
    assert found["probe/r2"].ideal is None and found["probe/mae"].ideal is None


def test_cliffs_delta_is_that_of_similarities_within_and_across(cohort):
    vectors = telling(1.0)
    question = asked(cohort)
    benchmark = Benchmark(question, Protocol())
    found = benchmark.score(vectors, "euclidean")
    fold, deltas = found.queries["fold"].to_numpy(), []
    for query in range(N):
        gallery = np.flatnonzero(fold != fold[query])
        close = -np.linalg.norm(vectors[gallery] - vectors[query], axis=1)
        within, across = close[SITE[gallery] == SITE[query]], close[SITE[gallery] != SITE[query]]
        signs = np.sign(within[:, None] - across)
        deltas.append(signs.mean())
    assert found.metrics[DELTA] == pytest.approx(np.mean(deltas))
    assert found.metrics[DELTA] == pytest.approx(2 * found.metrics["retrieval/auc"] - 1)
    assert found.metrics[f"{DELTA}_lo"] < found.metrics[DELTA] < found.metrics[f"{DELTA}_hi"]
    assert benchmark.chance.metrics[DELTA] == 0


def test_who_is_nothing_but_the_scanner_tells_all_of_it_and_nothing_of_the_place(cohort, make_question):
    one_hot = np.eye(3)[SITE]
    told = Benchmark(asked(cohort), Protocol(permutations=99)).score(one_hot, "euclidean").metrics
    assert told[AUC] == told["probe/balanced_accuracy"] == told[P] == told[DELTA] == told[f"{P}_share"] == 1
    assert told[f"{P}_p"] == told[f"{AUC}_p"] == 0.01
    place = Benchmark(make_question(N), Protocol(permutations=99))
    found, chance = place.score(one_hot, "euclidean").metrics, place.chance.metrics
    assert found[f"{P}_lo"] < chance[P] < found[f"{P}_hi"]
    assert found["probe/r2_lo"] < 0 < found["probe/r2_hi"]
    assert found[f"{P}_p"] > 0.05 and found["probe/r2_p"] > 0.05


@pytest.mark.parametrize("confound", [False, True])
def test_labels_drawn_at_random_are_at_chance(confound):
    inside, told = 0, 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        values = np.where(rng.permutation(40) % 2, "yes", "no")
        cases = [Case(f"c{n:02d}", f"p{n:02d}", {}, metadata={"response": value}) for n, value in enumerate(values)]
        question = Metadata(column="response", confound=confound).question(cases, {}, "world")
        question = replace(question, metrics=tuple(one for one in question.metrics if one.name in (P, AUC)))
        benchmark = Benchmark(question, Protocol(permutations=39))
        found = benchmark.score(rng.normal(size=(40, 12))).metrics
        inside += found[f"{P}_lo"] <= benchmark.chance.metrics[P] <= found[f"{P}_hi"]
        told += found[f"{P}_p"] <= 0.05
    assert inside >= 36 and told <= 4


# The leaderboard


def test_who_tells_the_least_is_the_best_and_the_oracle_the_worst(board):
    names = board.table["name"].tolist()
    assert names.index("little") < names.index("some") < names.index("much") <= names.index("oracle")
    assert names.index("chance") < names.index("some")
    by_name = board.table.set_index("name")
    assert by_name["to_best"]["little"] == 0 and by_name["to_best"]["much"] > board.reach
    assert by_name["tied_with_best"].to_dict() == {
        "little": True,
        "chance": True,
        "some": False,
        "much": False,
        "oracle": False,
    }
    assert board.is_ranked


def test_it_is_said_that_lower_is_better(board):
    said = f"by {P}, lower is better · confound site, better the less is told: a case with the same site"
    assert board.title.startswith(said)
    assert said in board.to_markdown() and "lower is better" in board._repr_html_()
    assert any("oracle is a fingerprint that tells all of it" in text for text in board.legend)
    assert "the best is not told from chance" in board.legend
    assert board.to_frame()["lower_is_better"].all()


def test_where_even_the_best_tells_it_that_is_said(cohort):
    found = npr.evaluate(embeddings(cohort, telling(6.0)), CONFOUND, holdout=0, references=("chance", "oracle"))
    assert "even the best tells more of it than chance" in found.leaderboard.legend


def test_the_p_value_is_the_last_column_and_in_the_csv(board):
    assert board.heads(["a"])[-1] == "p"
    cells = {row["name"]: board.cells(row)[-1] for row in board.records()}
    assert cells["much"] == "0.010" and cells["chance"] == "–" and float(cells["little"]) > 0.05
    assert f"{P}_p" in board.to_frame()
    narrow = board.to_terminal(width=60)
    assert "p" not in [column.header for column in narrow.columns] and "no room for p" not in str(narrow.caption)


def test_the_pictures_know_the_direction(board, cohort):
    from neuroprint.figures.heatmap import draw_heatmap
    from neuroprint.figures.leaderboard import draw_leaderboard

    drawn = draw_leaderboard(board.ranked_rows, board.metric, board.reach)
    (axes,) = drawn.axes
    assert "lower is better" in axes.get_xlabel()
    table = board.table.assign(layer="4", pooling=["mean"] * len(board.table))
    heat = draw_heatmap(table, board.metric)
    assert "lower is better" in heat._suptitle.get_text()
    (value,) = [text.get_text() for text in heat.axes[0].texts]
    assert float(value) == pytest.approx(board.table[board.table["name"] == "little"][P].iloc[0], abs=0.01)
    result = npr.evaluate(embeddings(cohort, telling(1.0)), CONFOUND, holdout=0, references=("chance",))
    assert result.draw("precision_at_k").axes[0].get_ylabel() == "precision at k, lower is better"


# Among cases of other sites


def test_a_task_across_sites_says_so_and_leaves_out_who_has_no_site(cohort):
    cases = list(cohort.cases)
    cases[3] = replace(cases[3], metadata={"site": ""})
    grades = [replace(case, metadata={**case.metadata, "grade": ("II", "III")[n % 2]}) for n, case in enumerate(cases)]
    made = Made("made", tuple(grades))
    task = Metadata(column="grade", across="site")
    found = npr.evaluate(embeddings(made, telling(1.0)), task, holdout=0, references=("chance", "oracle"))
    assert found.excluded == {"case-00003": "it has no value in the column site, across which the task is asked"}
    assert found.evaluation.cases == N - 1
    site = {case.id: case.metadata["site"] for case in grades}
    for row in found.queries.to_dict("records"):
        assert site[row["case"]] not in {site[case] for case in row["neighbors"]}
    said = "a case with the same grade, among cases of another site"
    assert said in found.leaderboard.title and said in str(found)
    assert task.identity("world") != Metadata(column="grade").identity("world")
    assert task.parameters()["across"] == "site"


@pytest.mark.parametrize(
    ("sites", "task", "said"),
    [
        (["A"] * N, TumorPosition(across="site"), "task.across=site: all cases that have a value have the same, A"),
        ([""] * N, TumorPosition(across="site"), "task.across=site: all cases that have a value have the same, none"),
        (["A"] * (N - 1) + ["B"], TumorPosition(across="site"), r"task.across=site: the gallery of a query of fold \d"),
        (
            ["A", "B"] * (N // 2),
            TumorPosition(across="scanner"),
            "task.across=scanner: the cohort has the columns site",
        ),
    ],
)
def test_galleries_that_would_be_empty_are_refused_before_a_scan_is_read(cohort, sites, task, said):
    from neuroprint.tasks.evaluate import check_question

    cases = [replace(case, metadata={"site": site}) for case, site in zip(cohort.cases, sites, strict=True)]
    made = Made("made", tuple(cases))
    with pytest.raises(NeuroprintError, match=said) as refused:
        check_question(task, made, 5, 0, 0.0)
    assert "\n" not in str(refused.value)


def test_a_column_is_not_asked_across_itself():
    with pytest.raises(NeuroprintError, match=r"task=metadata: across=site: must be another column than task\.column"):
        Metadata(column="site", across="site")


def test_a_confound_is_true_or_false():
    with pytest.raises(NeuroprintError, match="confound=yes: must be true or false"):
        Metadata(column="site", confound="yes")
