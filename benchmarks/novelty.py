"""What a bundle calls unlike its gallery: scans of the gallery's own kind, which it should not, and of other kinds.

python benchmarks/novelty.py [--real DIR] [--heads DIR] [--new N] [--layer L --pooling P] [--folder DIR]

Phantoms are drawn anew: 80 of seed 0, of which 64 that are no hold-out make the gallery, and N of another seed. DIR are
cohorts in BraTS layout, of skull-stripped scans and of scans with their skull. What is judged is judged by the bundle's own
test, on the numbers that the bundle keeps.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

import neuroprint as npr
from neuroprint.bundle.novelty import ALARMS, LEAST_PATIENTS, novelty
from neuroprint.data.cohort import Cohort
from neuroprint.embedding.embed import scan
from neuroprint.tasks.evaluate import sweep_cases

MODALITIES = ("flair", "t1ce", "t1", "t2")
ENCODER = "swin_unetr_phantom"
Arrays = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Kind:
    """Scans of one kind.

    Attributes:
        ids: (n,).
        facts: Names of the images' numbers, F.
        appearances: (n, F).
        embeddings: (n, D).
    """

    ids: tuple[str, ...]
    facts: tuple[str, ...]
    appearances: Arrays
    embeddings: Arrays

    def __getitem__(self, rows: Any) -> Kind:
        ids = tuple(np.array(self.ids)[rows])
        return Kind(ids, self.facts, self.appearances[rows], self.embeddings[rows])

    def __len__(self) -> int:
        return len(self.ids)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, help="skull-stripped patients")
    parser.add_argument("--heads", type=Path, help="scans with a skull")
    parser.add_argument("--new", type=int, default=180, help="phantoms of another seed")
    parser.add_argument("--layer", default="2")
    parser.add_argument("--pooling", default="spatial_softmax")
    parser.add_argument("--folder", type=Path, help="where altered scans go; they are removed at the end")
    options = parser.parse_args()

    def kind(cohort: Cohort) -> Kind:
        return measured(cohort, int(options.layer), options.pooling)

    own = npr.load_cohort("phantom", cases=80, spacing_mm=2.0)
    drawn, kept = kind(own), {case.id for case in sweep_cases(own, "auto")}  # an export takes those of no hold-out
    gallery = drawn[[row for row, case in enumerate(drawn.ids) if case in kept]]
    other = npr.load_cohort("phantom", cases=options.new, spacing_mm=2.0, seed=7)
    new = kind(other)
    print(f"{ENCODER}, layer {options.layer}, {options.pooling}\n\n| gallery | scans | flagged |\n| --- | --- | --- |")
    galleries = {n: gallery[np.arange(n)] for n in (64, 40, 20) if n <= len(gallery)}
    for n, known in galleries.items():
        show(f"{n} phantoms", "new phantoms", flags(known, new))
    several(gallery, new)
    real = kind(npr.load_cohort("brats", options.real)) if options.real else None
    if real is not None:
        for n, known in galleries.items():
            show(f"{n} phantoms", "real brains", flags(known, real))
        apart = [flags(real[np.arange(len(real)) != row], real[[row]])[0] for row in range(len(real))]
        show(f"{len(real) - 1} real brains", "the one left out", apart)
        show(f"{len(real) - 1} real brains", "phantoms", flags(real[np.arange(len(real) - 1)], new))
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        few = other.cases[:20]
        for name in MODALITIES:
            altered = write(Path(folder) / f"no_{name}", few, missing(name))
            for n, known in galleries.items():
                show(f"{n} phantoms", f"phantoms without {name}", flags(known, kind(altered)))
        heads = kind(write(Path(folder) / "heads", few, with_head))
        for n, known in galleries.items():
            show(f"{n} phantoms", "phantoms in a drawn head", flags(known, heads))
        if real is not None:
            cohort = npr.load_cohort("brats", options.real)
            heads = kind(write(Path(folder) / "real_heads", cohort.cases, with_head))
            in_heads(real, heads, "in a drawn head")
        if options.heads and real is not None:
            heads = kind(npr.load_cohort("brats", options.heads))
            in_heads(real, heads, "in a real head")
            for n, known in galleries.items():
                show(f"{n} phantoms", "real brains in a real head", flags(known, heads))
    seconds(gallery, new)


def measured(cohort: Cohort, layer: int, pooling: str) -> Kind:
    found = npr.embed(cohort, ENCODER, layer=layer, pooling=pooling, device="cpu")
    scanned = scan(found).facts
    looks = [scanned[case].appearance for case in found.ids]
    facts = tuple(looks[0])
    return Kind(
        found.ids, facts, np.array([[look[fact] for fact in facts] for look in looks]), found.vectors.astype(np.float64)
    )


def flags(gallery: Kind, scans: Kind) -> list[bool]:
    """Which of the scans the gallery, a patient a case, calls unlike itself."""
    pairs = zip(scans.appearances, scans.embeddings, strict=True)
    return [
        novelty(gallery.facts, gallery.appearances, gallery.embeddings, gallery.ids, look, vector).is_unlike
        for look, vector in pairs
    ]


def several(gallery: Kind, new: Kind) -> None:
    """False alarms over 200 galleries drawn from all phantoms, each with a phantom that is in none: independent draws."""
    both = Kind(
        tuple(f"{row}" for row in range(len(gallery) + len(new))),
        gallery.facts,
        np.vstack([gallery.appearances, new.appearances]),
        np.vstack([gallery.embeddings, new.embeddings]),
    )
    rng = np.random.default_rng(0)
    for n in (20, 40, 64):
        found: list[bool] = []
        for _ in range(200):
            order = rng.permutation(len(both))
            found += flags(both[order[:n]], both[order[n : n + 5]])
        show(f"200 times {n} phantoms", "5 others", found)


def in_heads(real: Kind, heads: Kind, words: str) -> None:
    """Each scan with a skull put to the stripped brains of all other patients."""
    if len(real) <= LEAST_PATIENTS:
        return
    found = [
        flags(real[[row for row, case in enumerate(real.ids) if case != name]], heads[[place]])[0]
        for place, name in enumerate(heads.ids)
    ]
    show(f"{len(real) - 1} real brains", f"real brains {words}", found)


def show(gallery: str, scans: str, found: Sequence[bool]) -> None:
    share = float(np.mean(found))
    error = (max(share * (1 - share), ALARMS * (1 - ALARMS) if share < ALARMS else 0) / len(found)) ** 0.5
    print(f"| {gallery} | {scans} | {sum(found)} of {len(found)}, {share:.1%} ± {error:.1%} |", flush=True)


def seconds(gallery: Kind, new: Kind) -> None:
    from neuroprint.data.appearance import appearance
    from neuroprint.data.brain_box import brain_box

    rng = np.random.default_rng(0)
    image = np.zeros((4, 155, 240, 240), np.int16).transpose(0, 3, 2, 1)
    image[:, 50:190, 35:205, 5:150] = rng.integers(1, 900, (4, 140, 170, 145))
    started = time.perf_counter()
    appearance(image, np.eye(4), brain_box(image), MODALITIES)
    looked = time.perf_counter()
    flags(gallery, new[:5])
    print(f"\n{looked - started:.2f} s for the numbers of a scan of 240 x 240 x 155, ", end="")
    print(f"{(time.perf_counter() - looked) / 5:.3f} s for the test")


Alter = Callable[[dict[str, npt.NDArray[Any]], float, np.random.Generator], None]


def missing(name: str) -> Alter:
    """Empties a series, but for one voxel: an empty file is refused before."""

    def alter(images: dict[str, npt.NDArray[Any]], spacing: float, rng: np.random.Generator) -> None:
        kept = np.unravel_index(int(images[name].argmax()), images[name].shape)
        value = images[name][kept]
        images[name][...] = 0
        images[name][kept] = value

    return alter


def with_head(images: dict[str, npt.NDArray[Any]], spacing: float, rng: np.random.Generator) -> None:
    """Draws around the brain 3 mm of fluid, 7 mm of skull and 7 mm of scalp, and noise in the air.

    In shares of the brain's 98th percentile, drawn for each series: fluid 0.1 to 0.3 (T2: 0.9 to 1.2), skull 0.02 to 0.15,
    scalp 0.6 to 1.3.
    """
    from scipy import ndimage

    brain = np.any([image > 0 for image in images.values()], axis=0)
    away = ndimage.distance_transform_edt(~brain, sampling=spacing)
    for name, image in images.items():
        full = float(np.percentile(image[brain], 98))
        fluid = rng.uniform(0.9, 1.2) if name == "t2" else rng.uniform(0.1, 0.3)
        layers = ((3, fluid), (10, rng.uniform(0.02, 0.15)), (17, rng.uniform(0.6, 1.3)), (np.inf, 0.0))
        drawn, inner = np.zeros(image.shape), 0.0
        for outer, level in layers:
            drawn[(away > inner) & (away <= outer)] = level
            inner = outer
        drawn = np.abs(ndimage.gaussian_filter(drawn, 0.5) + rng.normal(0, 0.02, drawn.shape)) * full
        image[~brain] = drawn[~brain]


def write(folder: Path, cases: Sequence[Any], alter: Alter) -> Cohort:
    """The cases' images, altered, as a cohort in BraTS layout."""
    for number, case in enumerate(cases):
        (folder / case.id).mkdir(parents=True)
        read = {name: nib.load(case.images[name].path) for name in MODALITIES}
        images = {name: np.asarray(found.dataobj).astype(np.int16) for name, found in read.items()}
        spacing = float(read["t1"].header.get_zooms()[0])
        alter(images, spacing, np.random.default_rng(number))
        for name, image in images.items():
            file = folder / case.id / f"{case.id}_{name}.nii.gz"
            nib.save(nib.Nifti1Image(image, read[name].affine), file)
    return npr.load_cohort("brats", folder)


if __name__ == "__main__":
    main()
