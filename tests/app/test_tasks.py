"""A sweep over all tasks: one extraction, and a leaderboard for each."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuroprint.catalog.menu import CONF

TASKS = sorted(entry.stem for entry in (CONF / "task").glob("*.yaml"))
FILES = {"flair": "flair", "t1": "t1", "t1ce": "t1ce", "t2": "t2", "label": "seg"}


@pytest.fixture
def table(small_cohort: Path, tmp_path: Path) -> Path:
    """The small cohort as a manifest with columns of metadata."""
    lines = [",".join(("id", *FILES, "grade", "days", "died"))]
    for number, folder in enumerate(sorted(small_cohort.iterdir())):
        paths = [str(next(folder.glob(f"*_{part}.nii.gz"))) for part in FILES.values()]
        metadata = [("II", "III")[number % 2], str(100 + 7 * number), str(int(number % 4 > 0))]
        lines.append(",".join((folder.name, *paths, *metadata)))
    path = tmp_path / "cases.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.slow
def test_a_sweep_over_tasks_needs_one_extraction_and_gives_each_a_leaderboard(project, table):
    keys = ("task.column=grade", "task.time=days", "task.event=died", "folds=3", "figures=false")
    network = ("encoder=untrained", "encoder.feature_size=12", "encoder.spacing_mm=6")
    where = ("dataset=manifest", f"dataset.root={table}", "dataset.labels=brats")
    outcome = project.run("-m", f"task={','.join(TASKS)}", *keys, *network, *where)
    assert outcome.returncode == 0, outcome.stderr
    candidates = project.finished()
    assert sorted(run.data.params["task"] for run in candidates) == TASKS
    assert sum(int(run.data.tags["extract/forwards"]) for run in candidates) == 10
    for task in TASKS:
        assert f"by retrieval/p_at_5 · {task}: a case" in " ".join(outcome.stdout.split())
    assert f"{len(TASKS)} leaderboards: their runs differ" in " ".join(outcome.stdout.split())
    probed = {
        run.data.params["task"]: {name for name in run.data.metrics if name.startswith("probe/")} for run in candidates
    }
    assert probed["survival"] == {f"probe/concordance{end}" for end in ("", "_lo", "_hi", "_p")}
    assert probed["volume"] >= {"probe/r2", "probe/mae", "probe/error_factor"}
    assert probed["composition"] >= {"probe/r2", "probe/mae"} and probed["region"] >= {"probe/balanced_accuracy"}
