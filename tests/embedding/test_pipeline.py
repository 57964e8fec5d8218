"""How many scans are read ahead, and how many go through the network together, changes no number and bounds the memory."""

from __future__ import annotations

import gc
import resource
from dataclasses import replace
from functools import cached_property

import numpy as np
import pytest
import torch

from neuroprint.data.cohort import Cohort
from neuroprint.data.digests import CaseDigests, digest
from neuroprint.data.formats.brats import BraTSFormat
from neuroprint.embedding import poolings
from neuroprint.embedding.extraction import Extract
from neuroprint.embedding.extractor import Extractor
from neuroprint.embedding.inferers import Whole
from neuroprint.embedding.reading import Request
from neuroprint.embedding.store import FeatureStore
from neuroprint.encoders.base import InputSpec, Level
from neuroprint.errors import CaseError

MENU = {"mean": poolings.mean, "max": poolings.max, "quantile": poolings.quantile}


class Blocks:
    """Block averages; remembers the size of each batch, and cannot hold more than ``most`` cases."""

    trained = True
    input = InputSpec(("flair", "t2"), spacing_mm=6.0, divisor=4)
    levels = (Level("fine", 2, 2), Level("coarse", 2, 4))
    identity = {"network": "blocks"}  # noqa: RUF012

    def __init__(self, most: int = 100) -> None:
        self.most = most
        self.batches: list[int] = []

    def load(self, device):
        def forward(batch):
            if len(batch) > self.most:
                raise torch.OutOfMemoryError
            self.batches.append(len(batch))
            return [torch.nn.functional.avg_pool3d(batch, level.stride) for level in self.levels]

        return forward


@pytest.fixture(scope="module")
def cohort(small_cohort):
    return BraTSFormat(str(small_cohort)).cohort()


def extract(cohort, root, encoder, **how):
    extractor = Extractor(encoder, encoder.input.modalities, Whole(), "fp32", MENU)
    work = Extract(FeatureStore(root), "cpu", **how)
    return work(cohort, [Request(extractor, ("fine", "coarse"), "quantile")])


@pytest.fixture(scope="module")
def expected(cohort, tmp_path_factory):
    return extract(cohort, tmp_path_factory.mktemp("one"), Blocks(), readers=1).embeddings[0]


@pytest.mark.parametrize(("readers", "batch"), [(2, 1), (4, 1), (4, 3), (16, 16)])
def test_embeddings_are_bit_for_bit_the_same_whatever_the_readers_and_the_batch(
    tmp_path, cohort, expected, readers, batch
):
    encoder = Blocks()
    found = extract(cohort, tmp_path, encoder, readers=readers, batch=batch)
    assert (found.forwards, sum(encoder.batches)) == ([10], 10)
    assert max(encoder.batches) <= batch
    assert list(found.embeddings[0]) != [] and set(found.embeddings[0]) == set(expected)
    for case, vector in expected.items():
        np.testing.assert_array_equal(found.embeddings[0][case], vector)


def test_cases_of_one_shape_go_through_the_network_together(tmp_path, cohort, monkeypatch):
    from neuroprint.embedding import extraction

    monkeypatch.setattr(extraction._Work, "shapes", property(lambda work: work.prepared.result().shapes))
    encoder = Blocks()
    extract(cohort, tmp_path, encoder, readers=4, batch=4)
    assert encoder.batches == [4, 4, 2]  # they are all of one shape


def test_cases_that_do_not_fit_into_memory_together_go_one_by_one(tmp_path, cohort, expected, monkeypatch):
    from neuroprint.embedding import extraction

    monkeypatch.setattr(extraction._Work, "shapes", property(lambda work: work.prepared.result().shapes))
    encoder = Blocks(most=1)
    found = extract(cohort, tmp_path, encoder, readers=4, batch=4)
    assert encoder.batches == [1] * 10 and found.forwards == [10]
    np.testing.assert_array_equal(found.embeddings[0]["Small_00003"], expected["Small_00003"])


def test_a_bad_case_in_a_batch_is_left_out_and_the_others_are_not(tmp_path, cohort):
    cases = cohort.cases
    gone = replace(cases[2], images={name: image for name, image in cases[2].images.items() if name != "t2"})
    mixed = replace(cohort, cases=(*cases[:2], gone, *cases[3:]))
    result = extract(mixed, tmp_path / "a", Blocks(), readers=4, batch=4)
    assert list(result.excluded) == [gone.id]
    assert set(result.embeddings[0]) == set(result.facts) == {case.id for case in cases} - {gone.id}
    with pytest.raises(CaseError, match=gone.id):
        extract(replace(mixed, strict=True), tmp_path / "b", Blocks(), readers=4, batch=4)


class Renamed(Cohort):
    """Cases whose content counts as different where their ids are."""

    @cached_property
    def digests(self):
        return {case.id: CaseDigests(digest(case.id), digest(case.id)) for case in self.cases}


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_cases(tmp_path, cohort):
    """The same ten scans under many names: what is held of a case is its facts and one vector."""

    def many(first, count):
        named = (replace(cohort.cases[n % 10], id=f"{n:05d}") for n in range(first, first + count))
        return Renamed("many", tuple(named))

    def held_mb():
        gc.collect()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3

    extract(many(0, 30), tmp_path, Blocks())
    before = held_mb()
    extract(many(30, 200), tmp_path, Blocks())
    assert held_mb() - before < 40
