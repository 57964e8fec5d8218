"""Leaks that an evaluation of patients must not have, planted, and not found to pay."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from neuroprint.data.case import Case, ImageFile
from neuroprint.data.duplicates import refuse_shared_images
from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.benchmark import Benchmark, Protocol
from neuroprint.evaluation.probe import RidgeProbe
from neuroprint.evaluation.projection import fit
from neuroprint.evaluation.question import Question

QUICK = Protocol()


def followed_up(
    make_question: Callable[..., Question], patients: int, visits: int, seed: int = 0
) -> tuple[Question, np.ndarray]:
    """Patients scanned repeatedly, and embeddings that know the patient perfectly and the position not at all."""
    rng = np.random.default_rng(seed)
    n = patients * visits
    number = np.arange(n) // visits
    centers = (rng.normal(size=(patients, 3)) * 30)[number] + rng.normal(size=(n, 3))
    question = replace(
        make_question(n, centers_mm=centers),
        ids=tuple(f"case-{case:04d}" for case in range(n)),
        patients=tuple(f"p{place:04d}" for place in number),
    )
    return question, rng.normal(size=(patients, 40))[number] + 0.01 * rng.normal(size=(n, 40))


def test_recognizing_the_patient_does_not_pay(make_question):
    question, identity = followed_up(make_question, 40, 3)
    benchmark = Benchmark(question, QUICK)
    metrics, chance = benchmark.score(identity).metrics, benchmark.chance.metrics
    for name in ("retrieval/p_at_5", "retrieval/map"):
        assert metrics[f"{name}_lo"] <= chance[name] <= metrics[f"{name}_hi"]
    assert metrics["probe/r2"] < 0.1


def test_it_would_pay_if_cases_instead_of_patients_were_split(make_question):
    # The control: the same numbers, each case called a patient of its own. The leak is there to be found.
    question, identity = followed_up(make_question, 40, 3)
    split = replace(question, patients=question.ids)
    metrics = Benchmark(split, QUICK).score(identity).metrics
    assert metrics["retrieval/p_at_1"] > 0.9 and metrics["probe/r2"] > 0.5


def test_the_same_image_under_two_patients_pays_as_much_and_is_refused(make_question):
    # What the control above gains is what a scan that was copied under another name would gain.
    question, _ = followed_up(make_question, 40, 2)
    cases = [Case(name, name, {"flair": ImageFile(Path(f"{name}.nii.gz"))}) for name in question.ids]
    contents = {
        name: {"flair": f"scan of {patient}"} for name, patient in zip(question.ids, question.patients, strict=True)
    }
    with pytest.raises(NeuroprintError, match=r"case-0000 and case-0001 .* \(and 39 more such pairs\)"):
        refuse_shared_images(cases, contents)
    refuse_shared_images(cases[::2], contents)


@pytest.mark.parametrize("seed", range(5))
def test_no_query_is_answered_by_its_own_patient(make_question, seed):
    question, identity = followed_up(make_question, 11, 4, seed)
    patient = dict(zip(question.ids, question.patients, strict=True))
    table = Benchmark(question, Protocol(seed=seed)).score(identity).queries
    for case, neighbors in zip(table["case"], table["neighbors"], strict=True):
        assert patient[case] not in {patient[neighbor] for neighbor in neighbors}


def test_a_querys_embedding_moves_no_other_querys_result(make_question):
    # Whatever is fitted on all cases (a scaler, a mean, a penalty) would carry the outlier to the rest of its fold.
    from sklearn.decomposition import PCA

    question = make_question(40)
    vectors = np.random.default_rng(0).normal(size=(40, 12)) + question.targets @ np.ones((3, 12)) / 30
    benchmark = Benchmark(question, QUICK)
    before = benchmark.score(vectors, projection=PCA(4)).queries
    outlier = int(benchmark.splits[2].queries[0])
    vectors[outlier] *= -50
    after = benchmark.score(vectors, projection=PCA(4)).queries
    others = np.setdiff1d(benchmark.splits[2].queries, [outlier])
    assert before.loc[others].equals(after.loc[others])
    assert not before.loc[[outlier]].equals(after.loc[[outlier]])


def test_a_querys_true_center_moves_no_prediction_of_its_fold(make_question):
    question = make_question(40)
    vectors = np.random.default_rng(0).normal(size=(40, 12)) + question.targets @ np.ones((3, 12)) / 30
    benchmark = Benchmark(question, QUICK)
    queries = benchmark.splits[1].queries
    centers = question.targets.copy()
    centers[queries] = 500.0
    moved = Benchmark(make_question(40, centers_mm=centers), QUICK)
    assert np.array_equal(benchmark.score(vectors).predicted[queries], moved.score(vectors).predicted[queries])


def test_a_projection_that_memorizes_its_centers_does_not_fool_the_penalty():
    """The planted leak: a projection that returns the centers of the cases it was fitted on, and noise for others."""

    class Memory:
        supervised = True

        def fit(self, X, y):
            self.known = {row.tobytes(): center for row, center in zip(X, y, strict=True)}
            return self

        def transform(self, X):
            unknown = np.random.default_rng(0).normal(size=(len(X), 3)) * 30
            return np.stack([self.known.get(row.tobytes(), other) for row, other in zip(X, unknown, strict=True)])

    rng = np.random.default_rng(0)
    vectors, centers = rng.normal(size=(60, 5)), rng.normal(size=(60, 3)) * 30
    patients = [f"p{number:02d}" for number in range(60)]
    probe = fit(vectors, centers, patients, Memory(), RidgeProbe(), seed=0).probe
    fooled = RidgeProbe().fit(Memory().fit(vectors, centers).transform(vectors), centers, np.arange(60))
    assert fooled.alpha <= 0.01
    assert isinstance(probe, RidgeProbe) and probe.alpha >= 100 * fooled.alpha
    new = rng.normal(size=(200, 5))
    truth = rng.normal(size=(200, 3)) * 30
    memory = Memory().fit(vectors, centers)
    error = [np.square(model.predict(memory.transform(new)) - truth).mean() for model in (fooled, probe)]
    assert error[1] < 0.75 * error[0]
