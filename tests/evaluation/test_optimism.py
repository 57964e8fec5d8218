"""Choosing is not scoring: what the sweep's best owes to having been chosen, and what does not."""

import numpy as np
import pytest

from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.benchmark import Benchmark, Protocol
from neuroprint.evaluation.optimism import optimism

QUICK = Protocol()
HEADLINE = {"probe/r2", "probe/error_mm", "retrieval/p_at_5", "retrieval/map", "retrieval/ndcg_at_10"}


def cohort(make_question, seed, n=75):
    """A question, a hold-out of a fifth of its cases, and features that tell the position with noise."""
    question = make_question(n, seed=seed)
    rng = np.random.default_rng(1000 + seed)
    held = rng.permutation(n) < n // 5
    return question, held, question.targets / 30 @ rng.normal(size=(3, 12)) + 2 * rng.normal(size=(n, 12))


def test_without_a_choice_the_difference_is_nothing_but_chance(make_question):
    found = [optimism(*cohort(make_question, seed), QUICK).difference for seed in range(12)]
    for name in HEADLINE:
        held = [low <= 0 <= high for _, low, high in (each[name] for each in found)]
        assert sum(held) >= 9, name
        assert all(low <= value <= high for value, low, high in (each[name] for each in found))


def test_the_best_of_a_hundred_noisy_configurations_looks_better_than_it_is(make_question):
    differences = []
    for seed in range(3):
        question, held, _ = cohort(make_question, seed)
        rng = np.random.default_rng(seed)
        noise = [rng.normal(size=(75, 4)) for _ in range(100)]
        sweep = Benchmark(question.among(~held), Protocol())
        chosen = max(noise, key=lambda rows: sweep.score(rows[~held]).metrics["retrieval/p_at_5"])
        differences.append(optimism(question, held, chosen, QUICK).difference["retrieval/p_at_5"][0])
    assert min(differences) > 0 and np.mean(differences) > 0.03


def test_the_sweeps_side_is_the_sweep_and_the_holdouts_has_its_galleries(make_question):
    question, held, rows = cohort(make_question, 0)
    result = optimism(question, held, rows, QUICK)
    assert set(result.difference) == HEADLINE
    alone = Benchmark(question.among(~held), QUICK).score(rows[~held]).metrics
    assert result.sweep.metrics == pytest.approx(alone, rel=1e-9)  # bounds too, whoever is held out
    assert set(result.holdout.queries["gallery"]) == set(result.sweep.queries["gallery"])
    assert set(result.holdout.queries["case"]) == {case for case, out in zip(question.ids, held, strict=True) if out}
    value = result.sweep.metrics["retrieval/map"] - result.holdout.metrics["retrieval/map"]
    assert result.difference["retrieval/map"][0] == pytest.approx(value)


def test_a_cohort_without_a_holdout_is_refused(make_question):
    with pytest.raises(NeuroprintError, match="no case"):
        optimism(make_question(20), np.zeros(20, dtype=bool), np.ones((20, 3)), QUICK)
