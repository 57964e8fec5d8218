"""What `neuroprint prepare` makes of a raw examination, against the same one prepared officially.

    python benchmarks/prepare.py RAW REFERENCE COHORT

RAW is the folder of one raw examination, REFERENCE a BraTS cohort that holds it, prepared by others, and COHORT has at least
ten other patients in that space. Prints a table in Markdown.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import SimpleITK as sitk

import neuroprint as npr
from neuroprint.data.case import Case
from neuroprint.data.cohort import Cohort
from neuroprint.data.volume import Volume, read_volume
from neuroprint.prepare.case import PreparedCase, nifti_bytes, prepare_case
from neuroprint.prepare.examination import find_examinations
from neuroprint.prepare.grids import mass_center, to_array, to_sitk
from neuroprint.prepare.registration import movement, register, turned_starts
from neuroprint.prepare.template import cohort_template

FINGERPRINTS = {
    "default encoder, stage1 · spatial_softmax": {"encoder": "swin_unetr_phantom", "layer": "stage1"},
    "decoder, out · spatial_softmax": {"encoder": "swin_unetr_phantom_decoder", "layer": "out"},
}


def main(raw: Path, reference: Path, cohort: Path) -> None:
    (examination,) = find_examinations(raw)
    others = npr.load_cohort("brats", cohort)
    template = cohort_template(others)
    begin = time.perf_counter()
    made = prepare_case(examination, template)
    rows = [("seconds, one thread", f"{time.perf_counter() - begin:.0f}"), ("verdict", made.verdict)]
    rows += [("correlation with the template", f"{made.quality.correlation:.2f}")]
    official = next(case for case in npr.load_cohort("brats", reference).cases if case.id == made.id)
    volume = read_volume(official, ("t1", "flair"), label=False)
    rows += against(made, volume)
    rows += found(made, official, others)
    print("| measured | found |\n| --- | --- |")
    for name, value in rows:
        print(f"| {name} | {value} |")


def against(made: PreparedCase, volume: Volume) -> Iterator[tuple[str, str]]:
    """Dice of the masks; how far a further rigid registration moves, and how T1 and FLAIR correlate before and after."""
    t1, flair = (image.astype(np.float32) for image in volume.images)
    brain, mine = t1 != 0, made.images["t1"] != 0
    yield "brain masks, Dice", f"{2 * (brain & mine).sum() / (brain.sum() + mine.sum()):.3f}"
    fixed = to_sitk(made.id, "t1", t1, volume.affine)
    moving = {
        name: to_sitk(made.id, name, made.images[name].astype(np.float32), made.affine) for name in ("t1", "flair")
    }
    mask = to_sitk(made.id, "t1", brain.astype(np.uint8), volume.affine)
    fit = register(fixed, moving["t1"], turned_starts(mass_center(mask), mass_center(mask), (-10.0, 0.0, 10.0)), mask)
    where = np.argwhere(brain)[::3000]
    points = np.array([fixed.TransformIndexToPhysicalPoint(index) for index in where.tolist()])
    degrees, mm = movement(fit.transform, points)
    yield "a further rigid registration moves it by", f"{degrees:.1f} degrees, {mm:.1f} mm"
    for name, image in (("t1", t1), ("flair", flair)):
        after = to_array(sitk.Resample(moving[name], fixed, fit.transform, sitk.sitkLinear, 0.0))
        both = [brain & (array != 0) for array in (made.images[name], after)]
        said = [
            np.corrcoef(array[where], image[where])[0, 1]
            for array, where in zip((made.images[name], after), both, strict=True)
        ]
        yield f"{name}: correlation within the brain, before and after that", f"{said[0]:.2f}, {said[1]:.2f}"


def found(made: PreparedCase, official: Case, others: Cohort) -> Iterator[tuple[str, str]]:
    """Whether the official version is the nearest of all, by cosine similarity of the plain fingerprints."""
    with tempfile.TemporaryDirectory() as folder:
        for case in (*others.cases, official):
            (Path(folder) / case.id).symlink_to(case.images["t1"].path.parent)
        query = Path(folder) / "prepared"
        query.mkdir()
        for name, image in made.images.items():
            (query / f"prepared_{name}.nii.gz").write_bytes(nifti_bytes(image, made.affine))
        cohort = npr.load_cohort("brats", folder)
        for name, choice in FINGERPRINTS.items():
            embeddings = npr.embed(cohort, choice["encoder"], choice["layer"], "spatial_softmax")
            rows = embeddings.rows(list(embeddings.ids)).astype(float)
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
            alike = dict(zip(embeddings.ids, rows @ rows[list(embeddings.ids).index("prepared")], strict=True))
            del alike["prepared"]
            order = sorted(alike, key=lambda case: -alike[case])
            rank = order.index(official.id)
            rival = next(case for case in order if case != official.id)
            yield (
                f"{name}: rank of the official version of {len(order)}, similarity, the best other",
                f"{rank + 1}, {alike[official.id]:.4f}, {alike[rival]:.4f}",
            )


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
