"""Galleries without the query's own value of a column: who is in them, what that scores, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.benchmark import Benchmark, Protocol
from neuroprint.evaluation.folds import assign_folds
from neuroprint.evaluation.optimism import optimism
from neuroprint.evaluation.probe import RidgeProbe
from neuroprint.evaluation.question import Question, equal_classes
from neuroprint.evaluation.retrieval import RETRIEVAL_METRICS
from neuroprint.evaluation.splits import splits_across, sweep_splits

P = "retrieval/p_at_5"


@pytest.fixture
def asked(make_question):
    """Sixty cases of forty-five patients at three sites, some of whom were seen at two."""
    question = make_question(60)
    patients = tuple(f"patient-{max(n, 15 + n // 2 if n < 30 else n):05d}" for n in range(60))
    return replace(question, patients=patients, across=np.random.default_rng(0).integers(0, 3, 60))


def vectors_of(question: Question, noise: float = 20.0, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return question.targets @ rng.normal(size=(3, 6)) + noise * rng.normal(size=(len(question), 6))


def gallery_of(question: Question, query: int, folds: np.ndarray) -> np.ndarray:
    return np.flatnonzero((folds != folds[query]) & (question.across != question.across[query]))


def test_scores_are_those_of_each_query_put_to_its_own_gallery(asked):
    vectors = vectors_of(asked)
    found = Benchmark(asked).score(vectors, "euclidean")
    folds, table = assign_folds(asked.patients, 5, 0), found.queries
    hits, ap = [], []
    for query in range(60):
        gallery = gallery_of(asked, query, folds)
        order = gallery[np.argsort(np.square(vectors[gallery] - vectors[query]).sum(axis=1), kind="stable")]
        near = np.linalg.norm(asked.targets[order] - asked.targets[query], axis=1) <= 20
        row = table.iloc[query]
        assert (row["gallery"], row["relevant"]) == (len(gallery), near.sum())
        assert list(row["neighbors"]) == [asked.ids[case] for case in order[:50]]
        if near.any():
            hits.append(near[:5].mean())
            ranks = np.flatnonzero(near) + 1
            ap.append((np.arange(1, len(ranks) + 1) / ranks).mean())
        numbers = np.unique(np.array(asked.patients)[gallery], return_inverse=True)[1]
        plain = RidgeProbe().fit(vectors[gallery], asked.targets[gallery], numbers).predict(vectors[[query]])
        assert found.predicted[query] == pytest.approx(plain[0])
        baseline = row[["baseline_x_mm", "baseline_y_mm", "baseline_z_mm"]].to_numpy(dtype=float)
        assert baseline == pytest.approx(asked.targets[gallery].mean(axis=0))
    assert found.metrics[P] == pytest.approx(np.mean(hits))
    assert found.metrics["retrieval/map"] == pytest.approx(np.mean(ap))
    assert found.answerable == len(hits)


def test_chance_and_the_oracle_know_the_same_galleries(asked):
    benchmark, folds = Benchmark(asked), assign_folds(asked.patients, 5, 0)
    expected, ideal = [], []
    for query in range(60):
        gallery = gallery_of(asked, query, folds)
        near = np.linalg.norm(asked.targets[gallery] - asked.targets[query], axis=1) <= 20
        if near.any():
            expected.append(near.mean())
            ideal.append(min(5, near.sum()) / 5)
    assert benchmark.chance.metrics[P] == pytest.approx(np.mean(expected))
    assert benchmark.oracle.metrics[P] == pytest.approx(np.mean(ideal))


def test_a_patients_effect_is_what_changes_without_her(asked):
    vectors = vectors_of(asked)
    found = Benchmark(asked).score(vectors, "euclidean").influences[P]
    folds, groups = assign_folds(asked.patients, 5, 0), Benchmark(asked).groups
    patients = np.array(asked.patients)

    def worth(query: int, without: str = "") -> float:
        gallery = gallery_of(asked, query, folds)
        gallery = gallery[patients[gallery] != without]
        order = gallery[np.argsort(np.square(vectors[gallery] - vectors[query]).sum(axis=1), kind="stable")]
        near = np.linalg.norm(asked.targets[order] - asked.targets[query], axis=1) <= 20
        return near[:5].mean() if near.any() else np.nan

    values = np.array([worth(query) for query in range(60)])
    scored = np.flatnonzero(np.isfinite(values))
    theta, total = values[scored].mean(), len(scored)
    singles = [name for name in sorted(set(patients)) if (patients == name).sum() == 1][:12]
    for name in singles:
        (place,) = np.flatnonzero(patients == name)
        own = (values[place] - theta) / total if place in scored else 0.0
        lost = 0.0
        for query in scored:
            left = worth(query, name)
            lost += (values[query] - left) / total if np.isfinite(left) else (values[query] - theta) / total
        assert found.effect[groups.of_case[place]] == pytest.approx(own + lost, abs=1e-12)


def test_where_all_relevant_cases_are_of_the_same_site_nothing_is_defined():
    codes = np.arange(24) % 2
    judge, ideal = equal_classes(codes)
    ids = tuple(f"case-{n:02d}" for n in range(24))
    targets = np.random.default_rng(0).normal(size=(24, 1))
    question = Question(ids, ids, targets, ("x",), judge, RETRIEVAL_METRICS[:-1], ideal, across=codes)
    found = Benchmark(question, Protocol(permutations=9)).score(targets, "euclidean")
    assert not found.metrics and found.answerable == 0 and found.cases == 24
    assert {P, "retrieval/map", f"{P}_share", f"{P}_lo", f"{P}_p"} <= set(found.undefined)


def test_a_fingerprint_that_knows_the_site_and_the_place_finds_the_place_only_across_sites(make_question):
    """Its nearest cases are all of its site, wherever their tumor is. Without those it finds what is near."""
    question = make_question(90, radius_mm=30.0)
    across = np.arange(90) % 3
    vectors = np.concatenate([question.targets / 30, 100 * np.eye(3)[across]], axis=1)
    place_alone = Benchmark(replace(question, across=across)).score(question.targets, "euclidean").metrics
    both = Benchmark(replace(question, across=across)).score(vectors, "euclidean").metrics
    site_alone = Benchmark(replace(question, across=across)).score(np.eye(3)[across], "euclidean").metrics
    # With sites equally far apart, those of another are ranked by place, as if the site were not there.
    assert both[P] == pytest.approx(place_alone[P])
    chance = Benchmark(replace(question, across=across)).chance.metrics[P]
    assert site_alone[f"{P}_lo"] < chance < site_alone[f"{P}_hi"]
    # Within one gallery of all sites the sites are first told apart, and of the site's cases few are near.
    mixed = Benchmark(question).score(vectors, "euclidean").metrics
    assert mixed[P] < Benchmark(question).score(question.targets, "euclidean").metrics[P]


def test_the_hold_out_is_asked_across_too(asked):
    held = np.isin(asked.patients, sorted(set(asked.patients))[:9])
    found = optimism(asked, held, vectors_of(asked), Protocol())
    outside, across = found.holdout.queries, dict(zip(asked.ids, asked.across, strict=True))
    assert len(outside) == 5 * held.sum()
    for row in outside.to_dict("records"):
        assert across[row["case"]] not in {across[case] for case in row["neighbors"]}
    sweep = Benchmark(asked.among(~held)).score(vectors_of(asked)[~held])
    assert found.sweep.metrics == pytest.approx(sweep.metrics)


def test_a_gallery_of_fewer_than_two_patients_is_refused(make_question):
    question = make_question(20)
    across = np.zeros(20, dtype=np.int64)
    across[3] = 1
    with pytest.raises(NeuroprintError, match=r"the gallery of a query of fold \d has [01] patients? of another value"):
        Benchmark(replace(question, across=across))


def test_every_case_is_still_a_query_once_and_never_beside_its_own_value(asked):
    splits = splits_across(sweep_splits(asked.patients, 5, 0), asked.across, asked.patients)
    assert sorted(np.concatenate([split.queries for split in splits])) == list(range(60))
    for split in splits:
        (value,) = set(asked.across[split.queries])
        assert value not in set(asked.across[split.gallery])
        assert not {asked.patients[case] for case in split.queries} & {asked.patients[case] for case in split.gallery}
