"""A sweep over questions: one extraction a perturbation, a leaderboard a question, and one page that says it all."""

from __future__ import annotations

import pandas as pd

SMALL = ("dataset=phantom_clinic", "dataset.cases=20", "dataset.spacing_mm=8", "encoder=untrained", "figures=false")
ASKED = "question=position,volume,scanner,gain"


def test_questions_share_extractions_and_end_on_one_page(project, artifact):
    done = project.run("-m", ASKED, "pooling=mean,pyramid", *SMALL)
    assert done.returncode == 0, done.stderr
    runs = project.finished()
    assert len(runs) == 8
    # Clean scans passed once and changed ones once, whatever was asked and however it was pooled.
    assert sum(int(run.data.tags["extract/forwards"]) for run in runs) == 40
    assert len({run.data.tags["group"] for run in runs}) == 4
    (parent,) = project.finished("sweep")
    table = pd.read_csv(artifact(parent, "profile.csv"))
    assert list(dict.fromkeys(table["question"])) == ["position", "volume", "scanner", "gain"]
    assert set(table["kind"]) == {"knows", "confuses", "bears"}
    names = set(table.loc[table["role"] == "candidate", "name"])
    assert names == {"untrained · patch_embedding · mean", "untrained · patch_embedding · pyramid"} or len(names) == 2
    assert artifact(parent, "profile.md").read_text().startswith("| what it knows | by |")
    assert artifact(parent, "plots/profile.png").stat().st_size > 10_000

    # The same fingerprints by their rank in the leaderboard, asked something else: nothing of them is computed again.
    more = project.run(
        "-m", "question=region,gain", "fingerprint=1,2", "dataset=phantom_clinic", *SMALL[1:3], "figures=false"
    )
    assert more.returncode == 0, more.stderr
    assert "already scored" in more.stderr
    assert len(project.finished()) == 10

    wrong = project.run("-m", "question=position,gain", "fingerprint=9", *SMALL[:3])
    assert wrong.returncode == 2
    assert "fingerprint=9: the leaderboard has 2 runs" in wrong.stderr


def test_a_sweep_of_one_question_has_no_profile(project, artifact):
    done = project.run("-m", "question=volume", "layer=0,1", *SMALL)
    assert done.returncode == 0, done.stderr
    (parent,) = project.finished("sweep")
    assert not artifact(parent, "profile.csv").exists()
