"""The file by which runs of other days are compared."""

from __future__ import annotations

import numpy as np
import pytest

from neuroprint.evaluation.comparison import with_the_best
from neuroprint.evaluation.influence import Influence, influence
from neuroprint.tasks.influence_file import INFLUENCE_FILE, read_influences, save_influences


def owed(seed: int) -> Influence:
    rng = np.random.default_rng(seed)
    own = rng.normal(size=30)
    return influence(rng.random(), own - own.mean(), 0.1 * rng.normal(size=(30, 30)), 27)


def test_influences_come_back_as_they_were(tmp_path):
    written = {"retrieval/p_at_5": owed(0), "probe/r2": owed(1)}
    save_influences(tmp_path, written)
    found = read_influences(tmp_path / INFLUENCE_FILE)
    assert found.keys() == written.keys()
    for name, before in written.items():
        after = found[name]
        assert (after.value, after.pairs, after.asked) == (before.value, before.pairs, before.asked)
        assert np.array_equal(after.own, before.own) and np.array_equal(after.effect, before.effect)
        assert after.sketch == pytest.approx(before.sketch, rel=1e-6) and after.variance == before.variance


def test_rows_read_back_compare_as_they_did(tmp_path):
    rows = [owed(seed) for seed in range(6)]
    save_influences(tmp_path, {str(place): row for place, row in enumerate(rows)})
    found = read_influences(tmp_path / INFLUENCE_FILE)
    before, after = (
        with_the_best(each, np.ones(6, dtype=bool)) for each in (rows, [found[str(place)] for place in range(6)])
    )
    assert np.array_equal(before.out, after.out) and after.width == pytest.approx(before.width, rel=1e-4)


def test_without_an_influence_the_file_is_there_and_empty(tmp_path):
    save_influences(tmp_path, {})
    assert read_influences(tmp_path / INFLUENCE_FILE) == {}
