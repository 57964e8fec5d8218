"""What is ranked, what is left out by name, and what is said to be missing."""

from __future__ import annotations

import logging

import pandas as pd
import pytest
from neuroprint.tracking.leaderboard import leaderboards, render

from neuroprint.errors import NeuroprintError
from neuroprint.tracking.store import TrackingStore


@pytest.fixture
def store(tmp_path):
    return TrackingStore(tmp_path / "mlruns", "trial")


def add(store, tmp_path, group, role="candidate", score=0.5, **tags):
    own = {"identity": f"{group} {role} {len(tags)}", "reference": role} if role != "candidate" else {}
    kind = "candidate" if role == "candidate" else "reference"
    run_id = store.create(f"{role} of {group}", {"role": kind, "group": group, "identity": f"{group}", **own, **tags})
    queries = pd.DataFrame({"case": ["a", "b"], "patient": ["a", "b"], "fold": [0, 1], "relevant": [1, 1]})
    queries = queries.assign(p_at_5=score, p_at_5_as_answer=score)
    folder = tmp_path / run_id
    folder.mkdir()
    queries.to_parquet(folder / "queries.parquet")
    with store.running(run_id):
        store.log(
            run_id, {"retrieval/p_at_5": score}, {"exportable": False} if tags.get("exportable") == "false" else {}
        )
        store.log_folder(run_id, folder)
    return run_id


def candidates(store):
    return store.search("tags.role = 'candidate'")


def test_a_group_without_reference_rows_is_named_and_the_others_are_shown(store, tmp_path, caplog):
    add(store, tmp_path, "whole")
    add(store, tmp_path, "torn")
    with pytest.raises(NeuroprintError, match="chance, voxels, oracle of candidate of"):
        leaderboards(store, candidates(store))
    for role in ("chance", "voxels", "oracle"):
        add(store, tmp_path, "whole", role)
    with caplog.at_level(logging.WARNING):
        (board,) = leaderboards(store, candidates(store))
    assert board.group == "whole" and board.note == "" and len(board.table) == 4
    assert "candidate of torn" in caplog.text and "candidate of whole" not in caplog.text


def test_a_board_that_lacks_untrained_alone_says_so_and_the_newest_of_two_counts(store, tmp_path):
    add(store, tmp_path, "whole", untrained_row="twin")
    for role in ("chance", "voxels", "oracle"):
        add(store, tmp_path, "whole", role)
    (board,) = leaderboards(store, candidates(store))
    assert "not yet scored" in board.note and "not yet scored" in str(render(board).caption)
    older, newer = (add(store, tmp_path, "whole", "untrained", score, identity="twin") for score in (0.1, 0.2))
    (board,) = leaderboards(store, candidates(store))
    assert board.note == ""
    assert newer in set(board.table["run_id"]) and older not in set(board.table["run_id"])


def test_what_has_seen_the_queries_is_listed_last_and_never_the_best(store, tmp_path):
    add(store, tmp_path, "whole", score=0.4, identity="plain", untrained_row="twin of plain")
    seen = add(store, tmp_path, "whole", score=0.9, identity="tsne", untrained_row="twin of tsne", exportable="false")
    for role in ("chance", "voxels", "oracle"):
        add(store, tmp_path, "whole", role, 0.1)
    for identity in ("twin of plain", "twin of tsne"):
        add(store, tmp_path, "whole", "untrained", 0.2, identity=identity)
    (board,) = leaderboards(store, candidates(store))
    table = board.table.set_index("run_id")
    assert table.index[-1] == seen and pd.isna(table["tied_with_best"][seen])
    assert bool(table["tied_with_best"].iloc[0])
    assert table["retrieval/p_at_5"].iloc[0] == 0.4
    untrained = store.client.get_run(table.index[table["name"] == "untrained"][0])
    assert untrained.data.tags["identity"] == "twin of plain"
    assert "laid out together with the queries" in board.note and seen not in set(board.ranked_rows["run_id"])
