"""Draw what every entry of conf/perturb does to one phantom, into docs/pictures/perturbations.png.

python docs/perturbations.py
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import neuroprint as npr
from neuroprint.catalog.menu import Catalog
from neuroprint.data.brain_box import brain_box
from neuroprint.data.volume import Volume, read_volume
from neuroprint.figures.style import WIDTH_INCHES, new_figure, save, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OUT = Path(__file__).parent / "pictures" / "perturbations.png"
ACROSS = 5
MARGIN = 8
"""Voxels around the unchanged brain."""


def slices(scan: Volume, at: tuple[int, int], box: np.ndarray, tops: dict[str, float]) -> np.ndarray:
    """A coronal slice of FLAIR, feet down, beside an axial one of T1ce, front up; gray as in the unchanged scan."""
    inside = tuple(slice(max(low - MARGIN, 0), high + MARGIN) for low, high in box)
    flair, t1ce = (scan.images[scan.modalities.index(name)] / tops[name] for name in ("flair", "t1ce"))
    coronal, axial = flair[:, at[0], :][inside[0], inside[2]].T[::-1], t1ce[:, :, at[1]][inside[0], inside[1]].T
    high = max(len(coronal), len(axial))
    padded = [np.pad(picture, ((high - len(picture), 0), (0, 0))) for picture in (coronal, axial)]
    return np.clip(np.concatenate(padded, axis=1), 0, 1)


@styled
def draw() -> Figure:
    """A panel for every perturbation, the unchanged scan first."""
    case = npr.load_cohort("phantom", cases=80).cases[4]
    scan = read_volume(case, ("flair", "t1", "t1ce", "t2"))
    assert scan.label is not None
    at = tuple(int(np.argmax((scan.label > 0).sum(axis=axes))) for axes in ((0, 2), (0, 1)))
    tops = {
        name: float(np.percentile(image[image > 0], 99))
        for name, image in zip(scan.modalities, scan.images, strict=True)
    }
    catalog = Catalog()
    names = ["none", *(name for name in catalog.names("perturb") if name != "none")]
    down = -(-len(names) // ACROSS)
    figure = new_figure(down * 1.0, WIDTH_INCHES)
    grid = figure.subplots(down, ACROSS)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, name in zip(grid.flat, names, strict=False):
        changed = catalog.part("perturb", name).made(scan, case.id)
        axes.imshow(slices(changed, at, brain_box(scan.images), tops), cmap="gray", vmin=0, vmax=1)
        axes.set_title(name, loc="left")
    return figure


if __name__ == "__main__":
    save(draw(), OUT)
    print(OUT)
