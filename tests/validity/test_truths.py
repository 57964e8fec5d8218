"""Truths that are known beforehand: what ignores pose bears it, what is drawn by lot is told by nobody."""

from __future__ import annotations

import numpy as np
import pytest

import neuroprint as npr
from neuroprint.data.volume import read_volume
from neuroprint.embedding.perturbations import BrainSize, Pose

BRIGHT = (1.3, 1.4, 1.5)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return npr.load_cohort("phantom_clinic", cases=40, spacing_mm=6.0, store=str(tmp_path_factory.mktemp("store")))


def shade(scan) -> np.ndarray:
    """How much of FLAIR is bright within the brain, wherever: of a larger tumor it is more."""
    image = scan.images[0].astype(float)
    inside = image[image > 0]
    return np.log([(inside > bright * np.median(inside)).mean() + 1e-3 for bright in BRIGHT])


@pytest.fixture(scope="module")
def shades(cohort):
    """Fingerprints that ignore pose and size by construction: of scans as they are, turned, and resized."""
    found = {"none": {}, "pose": {}, "size": {}}
    for case in cohort.cases:
        scan = read_volume(case, ("flair",), label=False)
        found["none"][case.id] = shade(scan)
        found["pose"][case.id] = shade(Pose()(scan, case.id))
        found["size"][case.id] = shade(BrainSize()(scan, case.id))
    return found


@pytest.mark.parametrize("change", ["pose", "size"])
def test_a_fingerprint_that_ignores_pose_keeps_its_score_and_finds_itself(cohort, shades, change):
    embeddings = npr.Embeddings(cohort, shades["none"], "euclidean", perturbed=shades[change])
    found = npr.evaluate(embeddings, npr.tasks.TumorVolume(), references=["chance"], holdout=0).metrics
    assert found["retrieval/p_at_5_p"] <= 0.01 and found["probe/r2"] > 0.3, "it knows the volume"
    assert found["robustness/p_at_5_kept"] > 0.75
    assert found["robustness/self_p_at_1_lo"] > 0.1, "three numbers tell a scan from forty others, by chance in 0.03"


def test_what_was_drawn_by_lot_is_told_by_no_fingerprint(cohort, shades):
    voxels = npr.embed(cohort, "voxels")
    for embeddings in (voxels, npr.Embeddings(cohort, shades["none"], "euclidean")):
        found = npr.evaluate(embeddings, npr.tasks.Metadata(column="response"), references=["chance"], holdout=0)
        chance = found.references["chance"].metrics["retrieval/p_at_5"]
        assert found.metrics["retrieval/p_at_5_lo"] < chance < found.metrics["retrieval/p_at_5_hi"]
        assert found.metrics["probe/auc_lo"] < 0.5 < found.metrics["probe/auc_hi"]
        assert found.metrics["retrieval/p_at_5_p"] > 0.05


def test_the_scanner_as_a_fingerprint_tells_the_scanner_and_no_place(cohort):
    names = sorted({case.metadata["scanner"] for case in cohort.cases})
    one_hot = {case.id: np.eye(len(names))[names.index(case.metadata["scanner"])] for case in cohort.cases}
    embeddings = npr.Embeddings(cohort, one_hot, "euclidean")
    task = npr.tasks.Metadata(column="scanner", confound=True)
    told = npr.evaluate(embeddings, task, references=["oracle"], holdout=0)
    for name in ("probe/auc", "retrieval/cliffs_delta"):
        assert told.metrics[name] == pytest.approx(1.0)
    assert told.metrics["retrieval/p_at_5"] == told.references["oracle"].metrics["retrieval/p_at_5"]
    place = npr.evaluate(embeddings, npr.tasks.TumorPosition(), references=["chance"], holdout=0)
    assert place.metrics["retrieval/p_at_5_lo"] < place.references["chance"].metrics["retrieval/p_at_5"]
    assert place.metrics["probe/r2"] < 0.1
