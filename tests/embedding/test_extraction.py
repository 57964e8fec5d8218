"""Extraction: every scan passes through the network once, whatever is asked, killed or started beside it."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from threading import Thread

import nibabel as nib
import numpy as np
import pytest

from neuroprint.data.formats.brats import BraTSFormat
from neuroprint.data.load import load_cohort
from neuroprint.embedding import poolings
from neuroprint.embedding.embed import embed
from neuroprint.embedding.entry import Entry
from neuroprint.embedding.extraction import Extract
from neuroprint.embedding.extractor import Extractor, brain_share
from neuroprint.embedding.inferers import Whole
from neuroprint.embedding.reading import Request
from neuroprint.embedding.store import FeatureStore
from neuroprint.encoders.base import InputSpec, Level
from neuroprint.errors import CaseError, NeuroprintError

MENU = {"mean": poolings.mean, "max": poolings.max}


class CountingEncoder:
    """Two levels of block averages; counts its forward passes."""

    trained = True
    input = InputSpec(("flair", "t2"), spacing_mm=6.0, divisor=4)
    levels = (Level("fine", 2, 2), Level("coarse", 2, 4))

    def __init__(self, weight: float = 1.0) -> None:
        self.weight = weight
        self.forwards = 0

    @cached_property
    def identity(self):
        return {"network": "counting", "weight": str(self.weight)}

    def load(self, device):
        from torch.nn.functional import avg_pool3d

        def forward(batch):
            self.forwards += 1
            return [self.weight * avg_pool3d(batch.to(device), level.stride) for level in self.levels]

        return forward


class Workplace:
    def __init__(self, root: Path, cohort: Path) -> None:
        self.store = FeatureStore(root / "store", keep_maps_mb=0)
        self.cohort = BraTSFormat(str(cohort)).cohort()

    def extract(self, encoder, levels=("coarse",), pooling="mean", menu=MENU, strict=False, store=None):
        extractor = Extractor(encoder, encoder.input.modalities, Whole(), "fp32", menu)
        cohort = replace(self.cohort, strict=strict)
        return Extract(store or self.store, "cpu")(cohort, [Request(extractor, levels, pooling)])


@pytest.fixture
def work(tmp_path, small_cohort):
    return Workplace(tmp_path, small_cohort)


@pytest.fixture
def broken(tmp_path, small_cohort):
    """A copy of the cohort that a test may damage."""
    shutil.copytree(small_cohort, tmp_path / "broken")
    return tmp_path / "broken"


def test_each_case_passes_once_and_is_then_served_from_the_store(work):
    encoder = CountingEncoder()
    first = work.extract(encoder)
    assert (first.forwards, first.cached, encoder.forwards) == ([10], [0], 10)
    again = work.extract(encoder)
    assert (again.forwards, again.cached, encoder.forwards) == ([0], [10], 10)
    for case, vector in first.embeddings[0].items():
        np.testing.assert_array_equal(again.embeddings[0][case], vector)


def test_another_level_or_pooling_of_the_menu_costs_no_pass(work):
    encoder = CountingEncoder()
    work.extract(encoder, ("coarse",), "mean")
    for levels, pooling in ((("fine",), "mean"), (("coarse",), "max"), (("fine", "coarse"), "max")):
        assert work.extract(encoder, levels, pooling).forwards == [0]
    assert encoder.forwards == 10


def test_several_levels_are_concatenated_in_the_order_asked(work):
    encoder = CountingEncoder()
    both = work.extract(encoder, ("coarse", "fine"), "max").embeddings[0]
    coarse, fine = (work.extract(encoder, (level,), "max").embeddings[0] for level in ("coarse", "fine"))
    for case in both:
        np.testing.assert_array_equal(both[case], np.concatenate([coarse[case], fine[case]]))


def test_a_pooling_that_is_not_stored_is_merged_in(work):
    encoder = CountingEncoder()
    work.extract(encoder, menu={"mean": poolings.mean})
    assert work.extract(encoder, pooling="max").forwards == [10]
    assert work.extract(encoder, pooling="mean", menu={"mean": poolings.mean}).forwards == [0]
    assert work.extract(encoder, pooling="max").forwards == [0]


def test_other_weights_are_other_features(work):
    one, other = CountingEncoder(1.0), CountingEncoder(2.0)
    first = work.extract(one).embeddings[0]
    second = work.extract(other)
    assert second.forwards == [10]
    case = next(iter(first))
    np.testing.assert_allclose(second.embeddings[0][case], 2 * first[case], rtol=1e-6)


def test_a_torn_entry_is_computed_again(work, caplog):
    encoder = CountingEncoder()
    expected = work.extract(encoder).embeddings[0]
    torn = sorted((work.store.root / "features").glob("*/*.safetensors"))[3]
    torn.write_bytes(torn.read_bytes()[:50])
    with caplog.at_level(logging.WARNING):
        found = work.extract(encoder)
    assert found.forwards == [1] and torn.name in caplog.text
    for case in expected:
        np.testing.assert_array_equal(found.embeddings[0][case], expected[case])


def test_extractions_side_by_side_share_the_cases(work):
    encoders = [CountingEncoder() for _ in range(4)]
    results = [None] * 4

    def run(index):
        results[index] = work.extract(encoders[index], store=FeatureStore(work.store.root, keep_maps_mb=0))

    threads = [Thread(target=run, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(encoder.forwards for encoder in encoders) == 10
    for result in results:
        assert len(result.embeddings[0]) == 10
        assert result.forwards[0] + result.cached[0] == 10
        for case, vector in results[0].embeddings[0].items():
            np.testing.assert_array_equal(result.embeddings[0][case], vector)


def test_a_case_that_cannot_be_read_is_left_out_and_named(tmp_path, broken, caplog):
    path = broken / "Small_00004" / "Small_00004_t2.nii.gz"
    path.write_bytes(path.read_bytes()[:2000])
    work = Workplace(tmp_path, broken)
    with caplog.at_level(logging.WARNING):
        result = work.extract(CountingEncoder())
    assert list(result.excluded) == ["Small_00004"]
    assert len(result.embeddings[0]) == 9
    assert "Small_00004" in caplog.text and path.name in caplog.text
    assert "\n" not in result.excluded["Small_00004"]


def test_a_case_that_is_said_to_cover_a_mile_is_left_out_and_the_rest_is_embedded(tmp_path, broken):
    for path in (broken / "Small_00004").iterdir():
        image = nib.load(path)
        nib.save(nib.Nifti1Image(np.asanyarray(image.dataobj), np.diag([1000.0, 1000.0, 1000.0, 1.0])), path)
    result = Workplace(tmp_path, broken).extract(CountingEncoder())
    assert list(result.excluded) == ["Small_00004"]
    assert "is said to cover 40000 x 44000 x 36000 mm" in result.excluded["Small_00004"]
    assert len(result.embeddings[0]) == 9


def test_what_is_odd_about_a_scan_is_said_when_it_is_read(tmp_path, broken, caplog):
    shutil.copy(broken / "Small_00004" / "Small_00004_flair.nii.gz", broken / "Small_00004" / "Small_00004_t2.nii.gz")
    with caplog.at_level(logging.WARNING):
        result = Workplace(tmp_path, broken).extract(CountingEncoder())
    assert len(result.embeddings[0]) == 10
    assert "case Small_00004: Small_00004_t2.nii.gz holds the same image as Small_00004_flair.nii.gz" in caplog.text


def test_doubt_about_labels_that_nobody_has_declared_is_said(tmp_path, broken, caplog):
    for case in ("Small_00004", "Small_00005"):
        path = broken / case / f"{case}_seg.nii.gz"
        image = nib.load(path)
        label = np.asanyarray(image.dataobj)
        nib.save(nib.Nifti1Image(np.where(label == 4, 3, label).astype(np.uint8), image.affine), path)
    for labels in ("auto", "brats"):
        cohort = load_cohort("brats", broken, store=tmp_path, labels=labels)
        with caplog.at_level(logging.WARNING):
            embed(cohort, encoder="voxels", store=tmp_path / labels)
        said = [
            record.getMessage() for record in caplog.records if "declare which in dataset.labels" in record.getMessage()
        ]
        assert len(said) == (labels == "auto")
        caplog.clear()


def test_in_strict_mode_a_case_that_cannot_be_read_stops_the_extraction_and_keeps_the_rest(tmp_path, broken):
    path = broken / "Small_00004" / "Small_00004_t2.nii.gz"
    path.write_bytes(b"not an image")
    work = Workplace(tmp_path, broken)
    encoder = CountingEncoder()
    with pytest.raises(CaseError, match="Small_00004"):
        work.extract(encoder, strict=True)
    stored = encoder.forwards
    assert stored >= 4
    work.extract(encoder)
    assert encoder.forwards == 9


def test_vectors_of_before_a_background_was_found_are_not_taken_for_those_of_after(tmp_path, broken):
    for path in (broken / "Small_00004").glob("*_[ft]*.nii.gz"):
        image = nib.load(path)
        nib.save(nib.Nifti1Image(np.asanyarray(image.dataobj).astype(np.int16) - 1024, image.affine), path)
    work = Workplace(tmp_path, broken)
    encoder = CountingEncoder()
    true = work.extract(encoder).embeddings[0]
    assert encoder.forwards == 10
    assert work.extract(encoder).cached[0] == 10
    kind = Extractor(encoder, encoder.input.modalities, Whole(), "fp32", MENU).kind
    stale = Entry({f"{level}|{name}": np.full(2, 7, np.float32) for level in ("fine", "coarse") for name in MENU}, {})
    for case, digests in work.cohort.digests.items():  # as an earlier version would have kept them
        if case in ("Small_00003", "Small_00004"):
            work.store.write(kind, digests.images, stale)
    found = work.extract(encoder).embeddings[0]
    np.testing.assert_array_equal(found["Small_00004"], true["Small_00004"])
    np.testing.assert_array_equal(found["Small_00003"], [7, 7])  # whose background is 0: as it was stored


def test_stored_vectors_serve_a_case_whose_facts_are_not_stored(work):
    work.extract(CountingEncoder())
    for entry in work.store.root.glob("facts*/**/*"):
        if entry.is_file():
            entry.unlink()
    encoder = CountingEncoder()
    result = work.extract(encoder)
    assert (encoder.forwards, result.cached[0], len(result.facts)) == (0, 10, 10)


def test_a_network_that_gives_nan_leaves_the_case_out(work):
    result = work.extract(CountingEncoder(weight=float("nan")))
    assert len(result.excluded) == 10
    assert "NaN" in result.excluded["Small_00000"]


def test_a_network_that_breaks_names_the_case(work):
    class Broken(CountingEncoder):
        def load(self, device):
            def forward(batch):
                raise RuntimeError("out of memory")

            return forward

    with pytest.raises(NeuroprintError, match=r"Small_00000.*out of memory"):
        work.extract(Broken())


def test_readers_leave_the_cores_to_each_other_and_numpy_as_it_was(work, monkeypatch):
    from threadpoolctl import threadpool_info, threadpool_limits

    from neuroprint.embedding import reading

    def numpys_threads():
        """Of NumPy's own BLAS: FAISS brings one whose count OpenMP keeps per thread, and readers do not call it."""
        return {
            pool["num_threads"]
            for pool in threadpool_info()
            if pool["user_api"] == "blas" and "numpy" in pool["filepath"]
        }

    def read(*arguments, **named):
        seen.append(numpys_threads())
        return whole(*arguments, **named)

    whole, seen = reading.read_volume, []
    monkeypatch.setattr(reading, "read_volume", read)
    with threadpool_limits(2, user_api="blas"):
        before = numpys_threads()
        work.extract(CountingEncoder())
        assert numpys_threads() == before
    assert seen == [{1}] * 10


def test_embeddings_are_what_the_network_gives_on_the_prepared_scan(work):
    import torch
    from torch.nn.functional import avg_pool3d

    from neuroprint.data.measure import measure
    from neuroprint.data.volume import read_volume
    from neuroprint.embedding.preprocessing import prepare

    case = work.cohort.cases[0]
    volume = read_volume(case, ("flair", "t2"))
    prepared = prepare(list(volume.images), volume.affine, measure(volume, "brats").brain_box, CountingEncoder.input)
    expected = avg_pool3d(torch.from_numpy(prepared.image)[None].double(), 4)[0].mean(dim=(1, 2, 3)).numpy()
    found = work.extract(CountingEncoder(), ("coarse",), "mean").embeddings[0][case.id]
    # The mean over a standardized brain is near 0: what is left of float32 is that of values near 1.
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_the_brains_share_of_a_cell_is_its_average():
    import torch

    brain = torch.zeros(8, 8, 8)
    brain[:3] = 1
    share = brain_share(brain, (4, 4, 4))
    assert share[:, 0, 0].tolist() == [1.0, 0.5, 0.0, 0.0]
