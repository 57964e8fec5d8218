"""Choosing is not scoring: what the sweep's best owes to having been chosen, and what does not."""

import numpy as np
import pytest

from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.benchmark import Benchmark, Protocol
from neuroprint.evaluation.optimism import optimism

QUICK = Protocol(bootstrap=300)
HEADLINE = {"probe/r2", "probe/error_mm", "retrieval/p_at_5", "retrieval/map", "retrieval/ndcg_at_10"}


def cohort(make_subjects, seed, n=75):
    """Subjects, a hold-out of a fifth of them, and features that tell the position with noise."""
    subjects = make_subjects(n, seed=seed)
    rng = np.random.default_rng(1000 + seed)
    held = rng.permutation(n) < n // 5
    return subjects, held, subjects.centers_mm / 30 @ rng.normal(size=(3, 12)) + 2 * rng.normal(size=(n, 12))


def test_without_a_choice_the_difference_is_nothing_but_chance(make_subjects):
    found = [optimism(*cohort(make_subjects, seed), QUICK).difference for seed in range(12)]
    for name in HEADLINE:
        held = [low <= 0 <= high for _, low, high in (each[name] for each in found)]
        assert sum(held) >= 9, name
        assert all(low <= value <= high for value, low, high in (each[name] for each in found))


def test_the_best_of_a_hundred_noisy_configurations_looks_better_than_it_is(make_subjects):
    differences = []
    for seed in range(3):
        subjects, held, _ = cohort(make_subjects, seed)
        rng = np.random.default_rng(seed)
        noise = [rng.normal(size=(75, 4)) for _ in range(100)]
        sweep = Benchmark(subjects.among(~held), Protocol(bootstrap=100))
        chosen = max(noise, key=lambda rows: sweep.score(rows[~held]).metrics["retrieval/p_at_5"])
        differences.append(optimism(subjects, held, chosen, QUICK).difference["retrieval/p_at_5"][0])
    assert min(differences) > 0 and np.mean(differences) > 0.03


def test_the_sweeps_side_is_the_sweep_and_the_holdouts_has_its_galleries(make_subjects):
    subjects, held, rows = cohort(make_subjects, 0)
    result = optimism(subjects, held, rows, QUICK)
    assert set(result.difference) == HEADLINE
    assert result.sweep.metrics == Benchmark(subjects.among(~held), QUICK).score(rows[~held]).metrics
    assert set(result.holdout.queries["gallery"]) == set(result.sweep.queries["gallery"])
    assert set(result.holdout.queries["case"]) == {case for case, out in zip(subjects.ids, held, strict=True) if out}
    value = result.sweep.metrics["retrieval/map"] - result.holdout.metrics["retrieval/map"]
    assert result.difference["retrieval/map"][0] == pytest.approx(value)


def test_a_cohort_without_a_holdout_is_refused(make_subjects):
    with pytest.raises(NeuroprintError, match="no case"):
        optimism(make_subjects(20), np.zeros(20, dtype=bool), np.ones((20, 3)), QUICK)
