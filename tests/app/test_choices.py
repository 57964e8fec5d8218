"""Choices of one's own: a ``conf`` folder in the working directory, or ``--config-dir``, adds to the menu."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

POOLING = """
def scaled(features, brain, by=2.0):
    return by * features.mean((1, 2, 3))
"""
ENTRY = "_target_: my_poolings.scaled\n_partial_: true\nby: 2.0\n"


@pytest.fixture
def where(small_cohort):
    return ("encoder=voxels", "dataset=brats", f"dataset.root={small_cohort}", "task.radius_mm=30", "figures=false")


@pytest.fixture
def own(new_project):
    """A project with a pooling of its own, and no ``conf`` folder yet."""
    project = new_project()
    (project.folder / "my_poolings.py").write_text(POOLING, encoding="utf-8")
    project.environment["PYTHONPATH"] = str(project.folder)
    return project


def write_choices(folder):
    (folder / "pooling").mkdir(parents=True)
    (folder / "pooling" / "scaled.yaml").write_text(ENTRY, encoding="utf-8")
    return folder


def test_a_conf_folder_where_one_is_adds_choices_in_a_sweep_of_several_processes(own, where, artifact):
    write_choices(own.folder / "conf")
    outcome = own.run("-m", "pooling=mean,scaled", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", *where)
    assert outcome.returncode == 0, outcome.stderr
    assert {run.info.run_name for run in own.finished()} == {"voxels · mean", "voxels · scaled"}
    (parent,) = own.finished("sweep")
    assert len(pd.read_csv(artifact(parent, "leaderboard.csv"))) == 5
    assert sum(int(run.data.tags["extract/forwards"]) for run in own.finished()) == 10, "one pass gives both"
    found = {run.data.params["pooling"]: vectors(artifact(run, "embeddings.parquet")) for run in own.finished()}
    np.testing.assert_allclose(found["scaled"], 2 * found["mean"], rtol=1e-6)


def vectors(path):
    """A row a case."""
    return np.stack(list(pd.read_parquet(path).sort_values("case")["embedding"]))


def test_a_folder_that_is_named_adds_choices_and_one_that_is_not_there_is_refused(own, where, tmp_path):
    folder = write_choices(tmp_path / "elsewhere")
    unknown = own.run("pooling=scaled", *where)
    assert unknown.returncode == 2 and "pooling=scaled: there is no such choice" in unknown.stderr
    outcome = own.run("--config-dir", str(folder), "pooling=scaled", "pooling.by=3", *where)
    assert outcome.returncode == 0, outcome.stderr
    (run,) = own.finished()
    assert (run.data.params["pooling"], run.data.params["pooling.by"]) == ("scaled", "3")
    missing = own.run("--config-dir=nowhere", "pooling=scaled", *where)
    assert missing.returncode == 2 and "nowhere" in missing.stderr and "Traceback" not in missing.stderr


def test_a_conf_folder_of_another_program_does_no_harm(own, where):
    """It has a config.yaml and entries of names that neuroprint has: neuroprint's own count."""
    others = {"config.yaml": "pooling: max\n", "pooling/mean.yaml": "size: 3\n", "pooling/other.yaml": "size: 3\n"}
    for name, content in others.items():
        file = own.folder / "conf" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
    outcome = own.run("pooling=mean", *where)
    assert outcome.returncode == 0, outcome.stderr
    assert [run.info.run_name for run in own.finished()] == ["voxels · mean"]
    chosen = own.run("pooling=other", *where)
    assert chosen.returncode == 2 and "pooling=other: its entry names no function" in chosen.stderr


def test_neuroprint_run_is_the_same_as_run_py(own, where):
    assert own.run(*where).returncode == 0
    again = own.fresh("-m", "neuroprint", "run", *where)
    assert again.returncode == 0 and "nothing computed again" in again.stderr
    swept = own.cli("run", "-m", "pooling=mean,max", *where)
    assert swept.returncode == 0, swept.stderr
    assert swept.stderr.count("nothing computed again") == 1 and "by retrieval/p_at_5" in swept.stdout
    wrong = own.cli("run", "poolng=mean")
    assert wrong.returncode == 2 and "Did you mean pooling?" in wrong.stderr
    board = own.cli("leaderboard", "--json")
    (rows,) = (board["rows"] for board in json.loads(board.stdout)["leaderboards"])
    assert {row["name"] for row in rows} == {"voxels · mean", "voxels · max", "chance", "voxels", "oracle"}
    helped = own.cli("run", "--help")
    assert helped.returncode == 0 and "swin_unetr_phantom" in helped.stdout
