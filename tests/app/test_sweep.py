"""A sweep, whole, killed, repeated, and started four times at once."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pandas as pd
import pytest

METRICS = {
    *(f"probe/{name}" for name in ("r2", "r2_x", "r2_y", "r2_z", "error_mm", "error_mm_median", "side_auc")),
    *(f"retrieval/{name}" for name in ("p_at_1", "p_at_3", "p_at_5", "p_at_10", "map", "mrr", "ndcg_at_10", "auc")),
    *("retrieval/p_at_5_share", "retrieval/map_share", "retrieval/ndcg_at_10_share", "retrieval/dist_mm_at_5"),
    *(f"probe/{name}_{end}" for name in ("r2", "error_mm") for end in ("lo", "hi")),
    *(f"retrieval/{name}_{end}" for name in ("p_at_5", "map", "ndcg_at_10") for end in ("lo", "hi")),
    *("retrieval/p_at_5_p", "probe/r2_p"),
}
COUNTS = {
    *("cohort/cases", "cohort/queries", "cohort/excluded"),
    *("extract/forwards", "extract/cached", "extract/seconds"),
}
ARTIFACTS = {
    *("config.yaml", "embeddings.parquet", "queries.parquet", "influence.safetensors"),
    *("plots/map.png", "plots/map.html"),
    *("plots/probe.png", "plots/precision_at_k.png", "plots/retrieval.png"),
}
NETWORK = ("encoder=untrained", "encoder.feature_size=12", "encoder.spacing_mm=6")


def sweep(cohort: Path) -> tuple[str, ...]:
    where = ("dataset=brats", f"dataset.root={cohort}", "task.radius_mm=30")
    return ("-m", "pooling=mean,max", "layer=2,4", *where, *NETWORK)


def total(runs, count: str) -> int:
    """A count over runs, which are tags: charts of metrics open on what differs."""
    return sum(int(run.data.tags[count]) for run in runs)


@pytest.fixture(scope="module")
def undisturbed(new_project, small_cohort):
    project = new_project()
    project.outcome = project.run(*sweep(small_cohort))
    return project


def test_a_sweep_leaves_four_candidates_and_the_reference_rows_under_one_parent(undisturbed):
    assert undisturbed.outcome.returncode == 0, undisturbed.outcome.stderr
    (parent,) = undisturbed.runs("sweep")
    assert parent.info.status == "FINISHED"
    candidates, references = undisturbed.runs("candidate"), undisturbed.runs("reference")
    assert sorted(run.info.run_name for run in candidates) == [
        f"untrained · {layer} · {pooling} · encoder.feature_size 12 · encoder.spacing_mm 6"
        for layer in ("stage2", "stage4")
        for pooling in ("max", "mean")
    ]
    assert {run.data.tags["reference"] for run in references} == {"chance", "voxels", "oracle"}
    for run in (*candidates, *references):
        assert run.info.status == "FINISHED"
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id


def test_every_defined_metric_is_finite_and_every_other_is_named(undisturbed):
    for run in undisturbed.runs("candidate"):
        undefined = set(filter(None, run.data.tags.get("undefined", "").split(", ")))
        assert set(run.data.metrics) | undefined == METRICS
        assert not set(run.data.metrics) & undefined
        assert all(math.isfinite(value) for value in run.data.metrics.values())
        assert run.data.params["encoder"] == "untrained"
        assert run.data.tags["encoder_weights"] == "untrained"


def test_counts_are_tags_and_no_metrics(undisturbed):
    for run in (*undisturbed.finished(), *undisturbed.finished("reference")):
        found = {name: run.data.tags[name] for name in COUNTS if name in run.data.tags}
        assert not COUNTS & {*run.data.metrics, *run.data.params}
        assert (found["cohort/cases"], found["cohort/queries"], found["cohort/excluded"]) == ("10", "10", "0")
    for run in undisturbed.finished():
        assert set(run.data.tags) >= COUNTS
        assert float(run.data.tags["extract/seconds"]) >= 0
        assert run.data.tags["rank_by"] == "retrieval/p_at_5"
        assert run.data.tags["references"] == "chance,oracle,voxels"


def test_the_scans_pass_once_through_the_network_for_the_whole_sweep(undisturbed):
    candidates = undisturbed.runs("candidate")
    assert total(candidates, "extract/forwards") == 10
    assert total(candidates, "extract/cached") == 30


def test_artifacts_are_there_and_can_be_read(undisturbed, artifact):
    from matplotlib.image import imread

    for run in undisturbed.runs("candidate"):
        folder = artifact(run)
        assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == ARTIFACTS
        embeddings = pd.read_parquet(folder / "embeddings.parquet")
        assert list(embeddings) == ["case", "embedding"] and len(embeddings) == 10
        queries = pd.read_parquet(folder / "queries.parquet")
        assert queries["case"].is_unique and len(queries) == 10
        for picture in folder.glob("plots/*.png"):
            assert imread(picture).ndim == 3
    (parent,) = undisturbed.runs("sweep")
    board = pd.read_csv(artifact(parent, "leaderboard.csv"))
    assert sorted(board["role"]) == ["candidate"] * 4 + ["reference"] * 3
    assert {"run_id", "layer", "pooling", "retrieval/p_at_5_lo", "tied_with_best"} <= set(board)
    assert artifact(parent, "plots/leaderboard.png").is_file()
    assert artifact(parent, "plots/heatmap.png").is_file()


def test_the_leaderboard_is_printed_with_intervals_and_says_untrained(undisturbed):
    printed = undisturbed.outcome.stdout
    for row in ("oracle", "chance", "voxels", "untrained · stage2", "untrained · stage4"):
        assert row in printed
    assert "[" in printed


def test_the_oracle_is_perfect_and_chance_is_the_mean_predictor(undisturbed):
    found = undisturbed.scores()
    assert found["oracle"]["retrieval/p_at_1"] == 1
    assert found["oracle"]["retrieval/map"] == 1
    assert found["chance"]["probe/r2"] == 0
    assert found["chance"]["retrieval/auc"] == 0.5


def test_repeating_the_command_computes_nothing_and_says_so(undisturbed, small_cohort):
    before, entries = undisturbed.runs(), undisturbed.entries()
    again = undisturbed.run(*sweep(small_cohort))
    assert again.returncode == 0
    assert again.stderr.count("nothing computed again") == 4
    assert len(undisturbed.runs()) == len(before)
    assert undisturbed.entries() == entries
    (parent,) = undisturbed.runs("sweep")
    assert parent.info.status == "FINISHED"


def test_a_larger_sweep_takes_over_what_is_finished(undisturbed, small_cohort):
    larger = undisturbed.run(*sweep(small_cohort)[:2], "layer=2,3,4", *sweep(small_cohort)[3:])
    assert larger.returncode == 0
    assert larger.stderr.count("nothing computed again") == 4
    assert "stage3 ·" in larger.stdout and "stage2 ·" in larger.stdout
    assert total(undisturbed.runs("candidate"), "extract/forwards") == 10


def test_the_leaderboard_command_ranks_the_same_runs(undisturbed):
    import json

    found = undisturbed.cli("leaderboard", "--json", "--metric", "probe/r2")
    assert found.returncode == 0, found.stderr
    (board,) = json.loads(found.stdout)["leaderboards"]
    values = [row["probe/r2"] for row in board["rows"]]
    assert values == sorted(values, reverse=True)
    assert {row["name"] for row in board["rows"]} >= {"oracle", "chance", "voxels"}


def test_a_run_from_the_store_loads_neither_pytorch_nor_what_it_does_not_use(undisturbed, small_cohort):
    """They take longer to load than such a run to be scored."""
    before = len(undisturbed.runs(experiment="again"))
    heavy = ("torch", "monai", "sklearn", "scipy.stats", "umap", "matplotlib", "faiss")
    arguments = ("figures=false", "layer=4", "tracking.experiment=again", *sweep(small_cohort)[3:])
    assert undisturbed.loaded(heavy, *arguments) == []
    assert len(undisturbed.runs(experiment="again")) > before


@pytest.mark.slow
def test_a_sweep_killed_five_times_ends_like_an_undisturbed_one(project, small_cohort, undisturbed):
    command = (*sweep(small_cohort), "figures=false")
    moments = (
        ("the store has just been made", lambda: project.has_runs),
        ("two cases are stored", lambda: len(project.entries()) >= 2),
        ("all but a few cases are stored", lambda: len(project.entries()) >= 7),
        ("the first run is finished", lambda: project.has_runs and len(project.finished()) >= 1),
        ("the third run is finished", lambda: project.has_runs and len(project.finished()) >= 3),
    )
    for moment, reached in moments:
        entries = project.entries()
        process = project.start(*command)
        deadline = time.monotonic() + 120
        while not reached() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.kill()
        process.communicate()
        assert reached(), moment
        kept = project.entries()
        assert all(kept[path] == changed for path, changed in entries.items()), f"extracted again: {moment}"
    last = project.run(*command)
    assert last.returncode == 0, last.stderr
    assert len(project.runs("sweep")) == 1
    assert project.runs("sweep")[0].info.status == "FINISHED"
    assert not [run for run in project.runs() if run.info.status == "RUNNING"]
    whole = undisturbed.scores()
    found = project.scores()
    assert len(found) == 7
    assert found == {name: whole[name] for name in found}


@pytest.mark.slow
def test_four_copies_started_at_once_share_the_work(project, small_cohort, undisturbed):
    copies = [project.start(*sweep(small_cohort), "figures=false") for _ in range(4)]
    outcomes = [copy.communicate(timeout=300) for copy in copies]
    for copy, (_, err) in zip(copies, outcomes, strict=True):
        assert copy.returncode == 0, err
    (parent,) = project.runs("sweep")
    assert parent.info.status == "FINISHED"
    candidates = project.runs("candidate")
    assert len(candidates) == 4
    assert total(candidates, "extract/forwards") == 10
    assert len(project.runs("reference")) == 3
    assert project.scores() == {name: undisturbed.scores()[name] for name in project.scores()}


def test_a_pooling_that_is_not_in_the_store_needs_no_pass(undisturbed, small_cohort):
    """Last in this file: the others compare all runs of the project."""
    done = undisturbed.run("pooling=gem", "pooling.p=7", "layer=2", "figures=false", *sweep(small_cohort)[3:])
    assert done.returncode == 0, done.stderr
    (run,) = (run for run in undisturbed.runs("candidate") if run.data.params["pooling"] == "gem")
    assert (run.data.tags["extract/forwards"], run.data.tags["extract/cached"]) == ("0", "10")
