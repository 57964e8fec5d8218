"""A sweep's description says how it was started and what it came to, names no folder, and holds text as text."""

from __future__ import annotations

from dataclasses import replace

from neuroprint.data.formats.brats import BraTSFormat
from neuroprint.experiment.summary import describe_sweep
from neuroprint.tracking.description import closing, opening, title


def test_the_opening_holds_the_command_without_folders_and_the_cohorts(small_cohort):
    cohort = replace(BraTSFormat(small_cohort).cohort(), name="my_scans")
    twins = replace(cohort, cases=tuple(replace(case, patient=case.patient[:-1]) for case in cohort.cases))
    text = opening(
        ["dataset=brats", "dataset.root=/home/Jane Doe/scans", "pooling=mean,max", "layer=[0,1]"],
        [(cohort, 2), (twins, 0)],
    )
    assert "python run.py -m dataset=brats dataset.root=scans pooling=mean,max 'layer=[0,1]'" in text
    assert "Jane" not in text
    assert f"my\\_scans: 10 cases of 10 patients, 2 of them held out. Digest `{cohort.digest[:16]}`" in text
    assert f"10 cases of 1 patients. Digest `{twins.digest[:16]}`" in text
    assert str(small_cohort) not in text


def test_the_closing_ranks_the_runs_marks_the_tied_and_says_how_to_export_the_best(seen_sweep):
    text = closing(seen_sweep.boards(), {})
    rows = [line for line in text.splitlines() if line.startswith("|")][2:]
    names = ["oracle", "mean", "max", "voxels", "chance", "seen"]
    assert [next(name for name in names if name in row.split("|")[2].split("](")[0]) for row in rows] == names
    assert [row.split("|")[1].strip() for row in rows] == ["★", "★", "", "", "", ""]
    assert "0.40 [0.35, 0.45]" in rows[1]
    assert f"neuroprint export OUT --run {seen_sweep.runs['mean']}`" in text
    assert "no finished run" not in text and "laid out together with the queries" in text


def test_what_failed_is_listed_and_a_name_is_no_markup():
    text = closing([], {"a | <b> *c*": "no\nway"})
    assert "**1 job has no finished run**" in text
    assert "| a \\| &lt;b> \\*c\\* | no way |" in text


def test_a_sweep_is_called_by_what_was_swept_and_what_won(seen_sweep):
    (board,) = seen_sweep.boards()
    assert title([board]) == "pooling x projection: mean, 0.40"
    assert title([board, board]) == "pooling x projection: 2 leaderboards"
    assert title([replace(board, queries=(9, 12))]) == "pooling x projection"


def test_a_sweep_carries_its_name_and_its_best_rows_headline_metrics(swept):
    sweep = swept()
    describe_sweep(sweep.store, sweep.parent, "how it began", sweep.boards(), {})
    parent = sweep.store.client.get_run(sweep.parent)
    assert parent.info.run_name == "pooling x projection: mean, 0.40"
    best = sweep.store.client.get_run(sweep.runs["mean"]).data.metrics
    assert {"retrieval/p_at_5", "retrieval/p_at_5_lo", "probe/r2"} <= set(parent.data.metrics)
    assert parent.data.metrics == {name: best[name] for name in parent.data.metrics}
    describe_sweep(sweep.store, sweep.parent, "how it began", [], {"x": "a job"})
    assert sweep.store.client.get_run(sweep.parent).info.run_name == "pooling x projection: mean, 0.40"
