"""``fingerprint=``: the choices of a run, as overrides."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from neuroprint.errors import NeuroprintError
from neuroprint.experiment import fingerprints
from neuroprint.experiment.fingerprints import choices_of, expand

CHOSEN = {"dataset": "phantom", "task": "tumor_position"}
PARAMS = {
    **{"encoder": "swin_unetr_phantom", "inferer": "whole", "pooling": "gem", "projection": "pca", "probe": "ridge"},
    **{"layer": "stage2", "components": "8", "similarity": "cosine", "precision": "fp32", "pooling.p": "2.0"},
    **{"task": "tumor_position", "radius_mm": "20.0", "dataset": "phantom", "perturb": "none"},
}


def run(run_id: str = "abcdef0123", **params: str) -> SimpleNamespace:
    return SimpleNamespace(
        info=SimpleNamespace(run_id=run_id, run_name=f"run {run_id}"), data=SimpleNamespace(params={**PARAMS, **params})
    )


@pytest.fixture
def store(monkeypatch):
    """A store of three finished runs, the second the best."""
    runs = {run_id: run(run_id) for run_id in ("aaaaaa1", "aaaaaa2", "bbbbbb1")}
    rows = [{"run_id": run_id, "role": "candidate"} for run_id in ("aaaaaa2", "aaaaaa1", "bbbbbb1")]
    board = SimpleNamespace(records=lambda: [{"run_id": "x", "role": "reference"}, *rows])
    monkeypatch.setattr("neuroprint.tracking.boards.finished_candidates", lambda store: list(runs.values()))
    monkeypatch.setattr(fingerprints, "the_leaderboard", lambda store, found: board)
    return SimpleNamespace(client=SimpleNamespace(get_run=runs.__getitem__))


def test_the_choices_of_a_run_are_what_its_embedding_hangs_on():
    assert choices_of(run()) == [
        *("encoder=swin_unetr_phantom", "inferer=whole", "pooling=gem", "projection=pca", "probe=ridge"),
        *("layer=stage2", "components=8", "similarity=cosine", "precision=fp32", "pooling.p=2.0"),
    ]
    assert "layer=[stage1,stage2]" in choices_of(run(layer="stage1+stage2"))


@pytest.mark.parametrize(
    ("params", "said"), [({"encoders": "a+b"}, "combines"), ({"encoder.path": "x"}, "from a file")]
)
def test_what_a_command_line_cannot_give_again_is_refused(params, said):
    with pytest.raises(NeuroprintError, match=rf"run abcdef0123 .*{said}"):
        choices_of(run(**params))


def test_a_run_is_named_by_rank_or_by_how_its_id_begins(store):
    assert fingerprints._run("1", store, CHOSEN).info.run_id == "aaaaaa2"
    assert fingerprints._run("3", store, CHOSEN).info.run_id == "bbbbbb1"
    assert fingerprints._run("bbbbbb", store, CHOSEN).info.run_id == "bbbbbb1"
    for named, said in {"4": "has 3 runs", "0": "has 3 runs", "aaaaaa": "2 finished", "cccccc": "no such"}.items():
        with pytest.raises(NeuroprintError, match=f"fingerprint={named}: .*{said}"):
            fingerprints._run(named, store, CHOSEN)


def test_a_rank_is_among_runs_of_the_same_dataset_and_task(store):
    with pytest.raises(NeuroprintError, match="no finished run with dataset=brats, task=tumor_position to be ranked"):
        fingerprints._run("1", store, {**CHOSEN, "dataset": "brats"})


def test_it_stands_in_the_place_of_the_key(store):
    expanded = expand(["question=pose", "fingerprint=1", "dataset.cases=12"], store, CHOSEN)
    assert expanded[0] == "question=pose" and expanded[-1] == "dataset.cases=12"
    assert "pooling=gem" in expanded and not any(line.startswith("fingerprint") for line in expanded)
