"""Evaluating embeddings from Python: what takes part, beside what it is scored, and which results may be compared."""

from __future__ import annotations

import gzip
import logging
import shutil
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsRegressor

import neuroprint as npr
from neuroprint.catalog.menu import Catalog
from neuroprint.data.cohort import Cohort
from neuroprint.embedding.embed import embed
from neuroprint.embedding.embeddings import Embeddings
from neuroprint.encoders.base import InputSpec, Level
from neuroprint.errors import CaseError, NeuroprintError
from neuroprint.evaluation.benchmark import Benchmark, Protocol
from neuroprint.evaluation.folds import in_holdout
from neuroprint.evaluation.knn import KNNProbe
from neuroprint.tasks import Metadata, Overlap, Side, TumorPosition
from neuroprint.tasks.evaluate import Exams, check_question, compare, evaluate, sweep_cases

WIDE = TumorPosition(radius_mm=40)


def exact(components: int) -> PCA:
    """By itself scikit-learn draws the components of wide embeddings at random."""
    return PCA(components, svd_solver="full")


class Blocks:
    """Block averages times weights of its own; on random weights they are others."""

    default_level = "blocks"
    input = InputSpec(("flair",), spacing_mm=6.0, divisor=4)
    levels = (Level("blocks", 1, 4),)

    def __init__(self, trained: bool = True) -> None:
        self.trained = trained
        self.identity = {"network": "blocks", "trained": trained}

    def untrained(self) -> Blocks:
        return Blocks(trained=False)

    def load(self, device):
        from torch.nn.functional import avg_pool3d

        return lambda batch: [avg_pool3d(batch if self.trained else (40 * batch).sin(), 4)]


@pytest.fixture(scope="module")
def vectors(voxels) -> dict[str, np.ndarray]:
    """The down-sampled scans as numbers from elsewhere."""
    return dict(zip(voxels.ids, voxels.vectors, strict=True))


@pytest.fixture(scope="module")
def centers(voxels) -> np.ndarray:
    """(10, 3) where the tumors lie, mm."""
    return evaluate(voxels, WIDE, references=()).benchmark.question.targets


@pytest.fixture
def copied(small_cohort, store, tmp_path):
    """A copy of the small cohort, to be changed, and how to load it."""
    root = tmp_path / "copy"
    shutil.copytree(small_cohort, root)
    return root, lambda **settings: npr.load_cohort("brats", root, store=store, **settings)


def held(cohort: Cohort, share: float) -> set[str]:
    return {case.id for case in cohort.cases if in_holdout(case.patient, share)}


# What is scored


def test_the_scores_are_those_of_the_benchmark_on_the_tasks_question(voxels, cohort):
    result = evaluate(voxels, WIDE)
    facts = voxels.scanned.facts
    question = WIDE.question(sorted(cohort.cases, key=lambda case: case.id), facts, cohort.frame)
    benchmark = Benchmark(question, Protocol(permutations=199))
    expected = benchmark.score(voxels.vectors, "euclidean")
    assert result.metrics == expected.metrics and result.queries.equals(expected.queries)
    assert result.references["chance"].metrics == benchmark.chance.metrics
    assert result.references["oracle"].metrics == benchmark.oracle.metrics
    assert result.ids == voxels.ids and result.similarity == "euclidean" and result.name == "voxels · mean"


@pytest.mark.parametrize("task", [WIDE, Side(), Overlap(min_dice=0.1)], ids=lambda task: task.name)
def test_voxels_score_as_the_reference_row_of_their_name(voxels, task):
    result = evaluate(voxels, task)
    assert set(result.references) == {"chance", "voxels", "oracle"}
    assert result.metrics == result.references["voxels"].metrics
    assert result.references["oracle"].metrics["retrieval/map"] == 1.0


@pytest.mark.parametrize("given", ["mapping", "array", "frame", "file"])
def test_embeddings_made_elsewhere_score_the_same(voxels, vectors, cohort, tmp_path, given):
    if given == "file":
        voxels.save(tmp_path / "vectors.parquet")
    made = {
        "mapping": vectors,
        "array": np.stack([vectors[case.id] for case in cohort.cases]),
        "frame": voxels.to_frame()[::-1],
        "file": tmp_path / "vectors.parquet",
    }[given]
    ours = evaluate(voxels, WIDE, projection=exact(3))
    theirs = evaluate(Embeddings(cohort, made, "euclidean"), WIDE, projection=exact(3))
    assert theirs.metrics == ours.metrics and theirs.queries.equals(ours.queries)
    for role, evaluation in ours.references.items():
        assert theirs.references[role].metrics == evaluation.metrics
    assert theirs.facts.keys() == ours.facts.keys() == set(ours.ids)
    assert sorted(theirs.figures()) == sorted(ours.figures())


def test_embeddings_made_elsewhere_need_no_store_of_their_own(vectors, cohort, tmp_path, monkeypatch):
    monkeypatch.setenv("NEUROPRINT_CACHE", str(tmp_path / "elsewhere"))
    few = cohort.where(lambda case: case.id < "Small_00003")
    evaluate(Embeddings(few, vectors_of(few, vectors)), WIDE, folds=3)
    assert (tmp_path / "elsewhere" / "store" / "features").is_dir()


def vectors_of(cohort: Cohort, vectors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {case.id: vectors[case.id] for case in cohort.cases}


def test_the_order_of_the_cohort_does_not_matter(cohort, vectors):
    backwards = replace(cohort, cases=cohort.cases[::-1])
    ours, theirs = (evaluate(Embeddings(each, vectors), WIDE) for each in (cohort, backwards))
    assert theirs.metrics == ours.metrics and theirs.queries.equals(ours.queries)


def test_the_similarity_is_that_of_the_embeddings_unless_another_is_asked(voxels, vectors, cohort):
    cosine = evaluate(Embeddings(cohort, vectors), WIDE, references=())
    assert cosine.similarity == "cosine"
    asked = evaluate(voxels, WIDE, similarity="cosine", references=())
    assert asked.metrics == cosine.metrics != evaluate(voxels, WIDE, references=()).metrics
    with pytest.raises(NeuroprintError, match="cosine, dot, euclidean"):
        evaluate(voxels, WIDE, similarity="cos")


# Projections and probes


def test_a_transformer_of_scikit_learns_is_a_projection(voxels):
    given = exact(3)
    result = evaluate(voxels, WIDE, projection=given, references=())
    expected = result.benchmark.score(voxels.vectors, "euclidean", exact(3))
    assert result.metrics == expected.metrics
    assert result.name == "voxels · mean · PCA3"
    assert not hasattr(given, "components_")


@pytest.mark.parametrize("probe", [LinearRegression(), KNeighborsRegressor(2), KNNProbe(2)])
def test_a_regressor_is_a_probe(voxels, centers, probe):
    result = evaluate(voxels, WIDE, projection=exact(2), probe=probe, references=())
    assert result.probe.name == type(probe).__name__
    for split in result.benchmark.splits:
        projection = exact(2).fit(voxels.vectors[split.gallery].astype(float))
        inside, outside = (
            projection.transform(voxels.vectors[side].astype(float)) for side in (split.gallery, split.queries)
        )
        model = KNeighborsRegressor(2, weights="distance") if isinstance(probe, KNNProbe) else probe
        if isinstance(probe, KNNProbe):
            inside, outside = inside / inside.std(axis=0), outside / inside.std(axis=0)
        expected = model.fit(inside, centers[split.gallery]).predict(outside)
        assert result.evaluation.predicted[split.queries] == pytest.approx(expected)


def test_names_and_nodes_of_the_menu_are_choices_too(voxels):
    named = evaluate(voxels, WIDE, projection="pca", probe="knn", references=())
    catalog = Catalog()
    by_node = evaluate(
        voxels, WIDE, projection=catalog.node("projection", "pca"), probe=catalog.node("probe", "knn"), references=()
    )
    assert named.metrics == by_node.metrics
    assert named.name == "voxels · mean · pca16"
    with pytest.raises(NeuroprintError, match=r"projection=pcaa: there is no such choice\. Did you mean pca\?"):
        evaluate(voxels, WIDE, projection="pcaa")


def test_a_menu_of_ones_own_adds_choices(voxels, tmp_path):
    entry = tmp_path / "projection" / "first_two.yaml"
    entry.parent.mkdir()
    entry.write_text("_target_: sklearn.decomposition.PCA\nn_components: 2\nsvd_solver: full\n")
    result = evaluate(voxels, WIDE, projection="first_two", catalog=Catalog([tmp_path]), references=())
    assert result.metrics == evaluate(voxels, WIDE, projection=exact(2), references=()).metrics
    assert result.name == "voxels · mean · first_two2"


def test_no_projection_and_the_entry_none_are_one(voxels):
    plain, none = (evaluate(voxels, WIDE, projection=choice, references=()) for choice in (None, "none"))
    assert plain.metrics == none.metrics and plain.name == none.name


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        (
            {"projection": PCA(n_components="many")},
            "projection=PCA or probe=ridge cannot be fitted to 8 cases of 10240",
        ),
        ({"probe": KNeighborsRegressor(20)}, "projection=none or probe=KNeighborsRegressor cannot be fitted"),
    ],
)
def test_what_cannot_be_fitted_is_named(voxels, choices, said):
    with pytest.raises(NeuroprintError, match=said):
        evaluate(voxels, WIDE, references=(), **choices)


def test_a_supervised_projection_says_so_in_its_name(voxels):
    assert evaluate(voxels, WIDE, projection="pls", references=()).name == "voxels · mean · pls16 · supervised"
    assert evaluate(voxels, WIDE, projection="pls", name="mine", references=()).name == "mine"


# Who takes part


def test_the_holdout_takes_no_part(voxels, cohort):
    share = 0.3
    out = held(cohort, share)
    assert 0 < len(out) < 5
    result = evaluate(voxels, WIDE, holdout=share, folds=3)
    assert set(result.ids) == set(voxels.ids) - out and result.holdout == share
    assert not out & {case for row in result.queries["neighbors"] for case in row}
    rest = cohort.where(lambda case: case.id not in out)
    alone = evaluate(embed(rest, "voxels", store=voxels.store), WIDE, folds=3)
    assert result.metrics == alone.metrics and not result.excluded


def test_below_fifty_patients_there_is_no_holdout_by_default(voxels, cohort):
    assert evaluate(voxels, WIDE, references=()).holdout == 0.0
    many = replace(
        cohort,
        cases=tuple(replace(case, patient=f"patient-{n}") for n, case in enumerate(cohort.cases * 5)),
    )
    assert sweep_cases(many, "auto") == [case for case in many.cases if not in_holdout(case.patient, 0.2)]
    assert len(sweep_cases(many, 0)) == 50


def test_a_case_without_an_embedding_is_left_out_and_named(cohort, vectors):
    fewer = {case: vector for case, vector in vectors.items() if case != "Small_00004"}
    result = evaluate(Embeddings(cohort, fewer, "euclidean"), WIDE)
    assert result.excluded == {"Small_00004": "it has no embedding"} and len(result.ids) == 9
    assert result.references["voxels"].metrics == result.metrics


def test_a_case_without_a_tumor_is_left_out_unless_the_cohort_is_strict(copied, caplog):
    root, load = copied
    label = root / "Small_00003" / "Small_00003_seg.nii.gz"
    image = nib.load(label)
    nib.save(nib.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine), label)
    (root / "Small_00006" / "Small_00006_seg.nii.gz").unlink()
    with caplog.at_level(logging.WARNING):
        result = evaluate(npr.embed(load(), "voxels"), WIDE)
    assert set(result.excluded) == {"Small_00003", "Small_00006"} and len(result.ids) == 8
    assert "its label has no voxel of whole_tumor" in result.excluded["Small_00003"]
    assert "left out: case Small_00003: its label has no voxel of whole_tumor" in caplog.text
    assert "8 cases of 8 patients, 2 left out" in str(result)
    with pytest.raises(CaseError, match="Small_00003"):
        evaluate(npr.embed(load(strict=True), "voxels"), WIDE)


def test_a_case_that_cannot_be_read_is_no_neighbor_and_the_row_voxels_says_what_it_lacks(
    graded, vectors, copied, caplog
):
    root, load = copied
    torn = root / "Small_00002" / "Small_00002_flair.nii.gz"
    torn.write_bytes(torn.read_bytes()[:200])
    metadata = {case.id: case.metadata for case in graded.cases}
    torn_cohort = load()
    torn_cohort = replace(
        torn_cohort, cases=tuple(replace(case, metadata=metadata[case.id]) for case in torn_cohort.cases)
    )
    embeddings = Embeddings(torn_cohort, vectors, "euclidean")
    assert set(evaluate(embeddings, WIDE).ids) == set(vectors) - {"Small_00002"}
    with caplog.at_level(logging.WARNING):
        result = evaluate(embeddings, Metadata(column="grade"), folds=3)
    assert set(result.references) == {"chance", "oracle"} and len(result.ids) == 10
    assert "no reference row voxels: the scan of case Small_00002 cannot be read" in caplog.text


def test_fewer_patients_than_folds_are_refused_before_a_scan_is_read(cohort, vectors, tmp_path, monkeypatch):
    monkeypatch.setenv("NEUROPRINT_CACHE", str(tmp_path / "untouched"))
    with pytest.raises(NeuroprintError, match="10 patients, fewer than folds=11: pass folds=10"):
        evaluate(Embeddings(cohort, vectors), WIDE, folds=11)
    assert not (tmp_path / "untouched").exists()
    with pytest.raises(NeuroprintError, match="fewer than folds=10"):
        check_question(WIDE, cohort, 10, 0, holdout=0.3)
    check_question(WIDE, cohort, 10, 0, holdout=0)


# The same image twice


@pytest.mark.parametrize("how", ["copied", "compressed anew"])
def test_one_image_under_two_patients_is_refused(copied, vectors, how):
    """A copied file is known by its bytes; one that was compressed anew by its voxels, once it was read."""
    root, load = copied
    one, other = (root / case / f"{case}_t2.nii.gz" for case in ("Small_00001", "Small_00008"))
    other.write_bytes(one.read_bytes() if how == "copied" else gzip.compress(gzip.decompress(one.read_bytes()), 1))
    with pytest.raises(NeuroprintError, match=r"cases Small_00001 and Small_00008 .* hold the same image"):
        evaluate(Embeddings(load(), vectors), WIDE)
    allowed = evaluate(Embeddings(load(duplicates="allow"), vectors), WIDE, references=())
    assert len(allowed.ids) == 10
    shared = Exams()
    evaluate(Embeddings(load(duplicates="allow"), vectors), WIDE, references=(), exams=shared)
    with pytest.raises(NeuroprintError, match="hold the same image"):
        evaluate(Embeddings(load(), vectors), WIDE, references=(), exams=shared)


# Reference rows


def test_only_the_reference_rows_asked_for_are_scored(voxels):
    assert set(evaluate(voxels, WIDE, references=()).references) == set()
    assert set(evaluate(voxels, WIDE, references=["oracle"]).references) == {"oracle"}
    with pytest.raises(NeuroprintError, match="no reference row luck: choose among chance, voxels, oracle, untrained"):
        evaluate(voxels, WIDE, references=["luck"])


@pytest.mark.parametrize("projection", [None, "pca"])
def test_the_row_untrained_is_the_same_choices_on_random_weights(cohort, store, projection):
    choices = {"pooling": "pyramid", "store": store}
    result = evaluate(
        npr.embed(cohort, Blocks(), **choices), WIDE, projection, probe="knn", references=["chance", "untrained"]
    )
    twin = evaluate(npr.embed(cohort, Blocks(trained=False), **choices), WIDE, projection, probe="knn", references=())
    assert result.references["untrained"].metrics == twin.metrics != result.metrics


def test_vectors_from_elsewhere_and_random_weights_have_no_row_untrained(cohort, vectors, store):
    for embeddings in (
        Embeddings(cohort, vectors),
        npr.embed(cohort, Blocks(trained=False), store=store),
        npr.embed(cohort, "voxels", store=store),
    ):
        assert "untrained" not in evaluate(embeddings, WIDE, references=["chance", "untrained"]).references


# Sharing


def test_results_of_one_question_share_it_and_score_as_they_do_alone(voxels, cohort, vectors):
    shared = Exams()
    alone = [evaluate(voxels, WIDE), evaluate(Embeddings(cohort, vectors), WIDE, projection=exact(2))]
    together = [
        evaluate(voxels, WIDE, exams=shared),
        evaluate(Embeddings(cohort, vectors), WIDE, projection=exact(2), exams=shared),
    ]
    assert together[0].benchmark is together[1].benchmark
    assert together[0].references["voxels"] is together[1].references["voxels"]
    for one, other in zip(alone, together, strict=True):
        assert one.metrics == other.metrics
        assert one.facts.keys() == other.facts.keys()


def test_another_question_is_another_exam(voxels, cohort, vectors):
    shared, usual = Exams(), Protocol()
    first = shared.of(voxels, WIDE, usual, 0.0)
    assert shared.of(voxels, WIDE, usual, "auto") is first
    others = [(Side(), usual, 0.0), (WIDE, Protocol(4), 0.0), (WIDE, Protocol(5, 1), 0.0), (WIDE, usual, 0.3)]
    assert all(shared.of(voxels, *other) is not first for other in others)
    fewer = {case: vector for case, vector in vectors.items() if case != "Small_00004"}
    assert shared.of(Embeddings(cohort, fewer), WIDE, usual, 0.0) is not first
    assert shared.of(voxels, WIDE, usual, 0.0) is not first  # four are kept


def test_the_seed_draws_other_folds_and_the_same_seed_the_same(voxels):
    first, again, other = (evaluate(voxels, WIDE, seed=seed, references=()) for seed in (0, 0, 1))
    assert first.metrics == again.metrics
    assert first.queries["fold"].tolist() != other.queries["fold"].tolist()


# Comparing


@pytest.fixture(scope="module")
def results(voxels, cohort, centers, store):
    """Voxels, the centers themselves, and noise."""
    rng = np.random.default_rng(0)
    return [
        evaluate(voxels, WIDE),
        evaluate(Embeddings(cohort, centers, "euclidean", "centers", store=voxels.store), WIDE),
        evaluate(Embeddings(cohort, rng.normal(size=(10, 4)), name="noise", store=voxels.store), WIDE),
    ]


@pytest.mark.parametrize(
    "metric", [None, "retrieval/map", "probe/error_mm", "retrieval/dist_mm_at_5", "retrieval/map_share"]
)
def test_results_are_ranked_as_their_metrics_are(results, metric):
    board = compare(results, metric)
    name = metric or "retrieval/p_at_5"
    assert board.metric.name == name
    rows = {**{result.name: result.metrics for result in results}}
    rows |= {role: evaluation.metrics for role, evaluation in results[0].references.items()}
    sign = 1 if "mm" in name else -1
    assert board.table["name"].tolist() == sorted(rows, key=lambda row: (sign * rows[row][name], row))
    table = board.table.set_index("name")
    for row, metrics in rows.items():
        for column, value in metrics.items():
            assert table.loc[row, column] == value
    assert set(table.index[table["role"] == "reference"]) == {"chance", "voxels", "oracle"}
    marks = table["tied_with_best"].tolist()
    assert marks == sorted(marks, reverse=True) and marks[0] is True


def test_the_best_and_what_cannot_be_told_from_it_are_marked(results):
    for name in ("retrieval/map", "probe/error_mm"):
        board = compare(results, name)
        sign = -1 if board.metric.lower_is_better else 1
        table = board.table.set_index("name")
        marks, values = table["tied_with_best"], table[name]
        assert board.is_ranked and board.reach > 0 and marks["centers"]
        for result in results:
            assert marks[result.name] == (sign * (values["centers"] - values[result.name]) <= board.reach)
        assert not marks["noise"]


def test_differences_to_voxels_are_those_of_the_metrics(results):
    table = compare(results, "probe/error_mm").table.set_index("name")
    for result in results:
        difference = result.metrics["probe/error_mm"] - results[0].references["voxels"].metrics["probe/error_mm"]
        assert table.loc[result.name, "to_voxels"] == pytest.approx(difference)
    assert (table.loc["voxels", "to_voxels"], table.loc["voxels", "to_voxels_reach"]) == (0.0, 0.0)
    assert table.loc["centers", "to_voxels"] < -table.loc["centers", "to_voxels_reach"] < 0


def test_the_legend_says_how_many_queries_stand_behind_a_number(results):
    board = compare(results)
    asked = sum(query > 0 for query in results[0].queries["relevant"])
    assert board.queries == (asked, 10) and board.legend[0].startswith(f"{asked} of 10 cases are queries")
    assert compare(results, "probe/r2").queries == (10, 10)


def test_one_result_is_a_leaderboard_of_its_own(results):
    assert results[1].leaderboard.table.equals(compare(results[1:2]).table)
    assert "centers" in str(results[1]) and "oracle" in str(results[1])


def test_results_of_different_questions_are_not_compared(voxels, results, cohort, vectors):
    fewer = {case: vector for case, vector in vectors.items() if case != "Small_00004"}
    asked = {
        "task": evaluate(voxels, TumorPosition(radius_mm=39), references=()),
        "scored cases": evaluate(Embeddings(cohort, fewer), WIDE, references=()),
        "folds or seed": evaluate(voxels, WIDE, folds=4, references=()),
        "scored cases, hold-out": evaluate(voxels, WIDE, holdout=0.3, references=()),
    }
    for differing, other in asked.items():
        with pytest.raises(NeuroprintError, match=f"cannot be compared: they differ in {differing}$"):
            compare([*results, other])
    with pytest.raises(NeuroprintError, match="differ in folds or seed"):
        compare([results[0], evaluate(voxels, WIDE, seed=7, references=())])


def test_results_of_cohorts_with_the_same_names_are_not_compared(voxels, copied):
    root, load = copied
    image = root / "Small_00000" / "Small_00000_flair.nii.gz"
    shutil.copy(root / "Small_00000" / "Small_00000_t1.nii.gz", image)
    other = evaluate(npr.embed(load(), "voxels"), WIDE, references=())
    with pytest.raises(NeuroprintError, match=r"cannot be compared: they differ in cohort$"):
        compare([evaluate(voxels, WIDE, references=()), other])


def test_tasks_that_are_called_otherwise_but_are_the_same_are_compared(results, voxels):
    assert len(
        compare([results[0], evaluate(voxels, TumorPosition(radius_mm=40.0, frame="world"), references=())]).table
    )


def test_nothing_cannot_be_compared():
    with pytest.raises(NeuroprintError, match="pass at least one result"):
        compare([])


def test_an_unknown_metric_names_those_there_are(results):
    with pytest.raises(NeuroprintError, match=r"no run has the metric p_at_5: choose one of .*retrieval/p_at_5, "):
        compare(results, "p_at_5")


class LaidOut:
    """Cannot place a new case: a case's place depends on all others."""

    transductive = True

    def fit_transform(self, X, y=None):
        assert y is None
        return X[:, :2] - X[:, :2].mean(axis=0)


def test_what_has_seen_the_queries_stands_last_and_is_not_compared(results, voxels):
    seen = evaluate(voxels, WIDE, projection=LaidOut(), name="laid out together", references=())
    board = compare([*results, seen], "probe/error_mm")
    assert board.table["name"].iloc[-1] == "laid out together"
    assert board.table["tied_with_best"].isna().iloc[-1]
    assert "laid out together with the queries" in board.note and "laid out together with the queries" in str(board)
    before = compare(results, "probe/error_mm").table
    assert board.table["name"].tolist()[:-1] == before["name"].tolist()
    assert board.table["tied_with_best"].tolist()[:-1] == before["tied_with_best"].tolist()


def test_the_public_names_are_these(results):
    assert npr.evaluate is evaluate and npr.compare is compare
    assert npr.Result is type(results[0]) and npr.Leaderboard is type(results[0].leaderboard)
