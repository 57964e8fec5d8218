"""The quality page of one prepared case: slices in three planes under the template's outlines, numbers, a verdict."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from neuroprint.data.brain_grid import along_patient
from neuroprint.data.outlines import outline_path, png_address

if TYPE_CHECKING:
    from neuroprint.prepare.case import PreparedCase
    from neuroprint.prepare.template import BrainTemplate

_SHOWN = ("t1", "t1ce", "t2", "flair")
_SLICES = (0.3, 0.5, 0.7)  # through the template's brain, from its first slice to its last
_DEEP_VOXELS, _DARK_PERCENT = 20, 8.0
# Of each plane: the patient's axis it cuts, and how a slice is turned to be seen as radiologists hang it.
_PLANES = {"axial": 2, "coronal": 1, "sagittal": 0}
_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 1.5rem auto; max-width: 78rem; padding: 0 1rem; }
h1 { font-size: 1.3rem; margin: 0 0 .3rem; }
.verdict { display: inline-block; padding: .1rem .6rem; border-radius: .3rem; color: #fff; font-weight: 600; }
.good { background: #1a7f37; } .look { background: #9a6700; } .failed { background: #b3261e; }
table { border-collapse: collapse; margin: .8rem 0; } td, th { padding: .15rem .9rem .15rem 0; text-align: left; }
th { font-weight: 600; } td.number { text-align: right; font-variant-numeric: tabular-nums; }
.row { display: grid; grid-template-columns: repeat(9, 1fr); gap: 3px; } figure { margin: .5rem 0; }
figcaption { font-weight: 600; margin-bottom: .2rem; } svg { width: 100%; background: #000; display: block; }
path { fill: none; stroke-width: 1; vector-effect: non-scaling-stroke; } .template { stroke: #ffb000; }
.tumor { stroke: #ff5fa2; }
.note { color: #777; max-width: 50rem; }
"""


def quality_page(made: PreparedCase, template: BrainTemplate) -> str:
    """The page as HTML that needs no other file.

    Args:
        made: The case.
        template: What it was laid on.
    """
    name = html.escape(made.id)
    kind = {"good": "good", "look at it": "look", "failed": "failed"}[made.verdict]
    reasons = "".join(f"<li>{html.escape(reason)}</li>" for reason in made.reasons)
    pictures = "".join(_figure(modality, made, template) for modality in _SHOWN if modality in made.images)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{name}: {made.verdict}</title><style>{_STYLE}</style>'
        f'<h1>{name}</h1><p><span class="verdict {kind}">{made.verdict}</span></p><ul>{reasons}</ul>'
        f"{_numbers(made)}{pictures}"
        f'<p class="note">Yellow: the outline of the brain and of its ventricles in the template, '
        f"{html.escape(template.name)} ({template.patients} patients). The scan lies right where the brain's edge, the "
        "ventricles and the midline follow it; a tumor may push them. Pink: the label. Radiological convention: in axial and "
        "coronal slices the patient's right is on the left; sagittal slices show the front on the left.</p></html>\n"
    )


def _numbers(made: PreparedCase) -> str:
    quality = made.quality
    rows = [
        ("brain", f"{quality.brain_ml:.0f} ml"),
        ("overlap with the template's brain (Dice)", f"{quality.dice:.3f}"),
        ("correlation with the template", f"{quality.correlation:.3f}"),
    ]
    rows += [(f"{name}: share of the brain that it shows", f"{share:.1%}") for name, share in quality.covered.items()]
    rows += [
        (f"{name}: mutual information with the others", f"{nats:.2f} nats")
        for name, nats in quality.information.items()
    ]
    cells = "".join(f'<tr><th>{html.escape(key)}</th><td class="number">{value}</td></tr>' for key, value in rows)
    return f"<table>{cells}</table>"


def _figure(modality: str, made: PreparedCase, template: BrainTemplate) -> str:
    image, guide = (
        along_patient(array, made.affine) for array in (made.images[modality], template.t1 * template.brain)
    )
    label = None if made.label is None else along_patient(made.label, made.affine)
    box = [np.flatnonzero(guide.any(axis=tuple(a for a in range(3) if a != axis)))[[0, -1]] for axis in range(3)]
    edges = _edges(guide)
    seen = image[image != 0]
    low, high = (float(value) for value in np.percentile(seen, (1, 99.5))) if len(seen) else (0.0, 1.0)
    tiles = []
    for plane, axis in _PLANES.items():
        for share in _SLICES:
            at = round(box[axis][0] + share * (box[axis][1] - box[axis][0]))
            picture = np.clip((_turned(image, axis, at, box) - low) / max(high - low, 1e-6) * 255, 0, 255).astype(
                np.uint8
            )
            outlines = [("template", _turned(edge, axis, at, box)) for edge in edges]
            if label is not None:
                outlines.append(("tumor", _turned(label, axis, at, box) > 0))
            tiles.append(_tile(picture, outlines, f"{plane} slice of {modality}"))
    return f'<figure><figcaption>{modality}</figcaption><div class="row">{"".join(tiles)}</div></figure>'


def _turned(volume: npt.NDArray[Any], axis: int, at: int, box: list[npt.NDArray[np.int64]]) -> npt.NDArray[Any]:
    """A slice of a volume in the patient's order of axes (right, front, up), first row on top."""
    margin = 6
    cut = [slice(max(0, int(a) - margin), int(b) + margin + 1) for a, b in box]
    plane = np.take(volume, at, axis=axis)[tuple(cut[other] for other in range(3) if other != axis)]
    turned: npt.NDArray[Any] = plane.T[
        ::-1, ::-1
    ]  # x runs to the patient's right and y to the front: both are shown on the left
    return turned


def _edges(guide: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.bool_]]:
    """What is outlined of the template: the brain, and deep within it the darkest: the ventricles."""
    from scipy import ndimage

    deep = ndimage.binary_erosion(guide > 0, iterations=_DEEP_VOXELS)
    smooth = ndimage.gaussian_filter(guide.astype(np.float32), 1.0)
    return [guide > 0, deep & (smooth < np.percentile(smooth[deep], _DARK_PERCENT))]


def _tile(picture: npt.NDArray[np.uint8], outlines: list[tuple[str, npt.NDArray[np.bool_]]], words: str) -> str:
    rows, columns = picture.shape
    paths = "".join(f'<path class="{name}" d="{outline_path(mask)}"/>' for name, mask in outlines if mask.any())
    return (
        f'<svg viewBox="0 0 {columns} {rows}" role="img" aria-label="{html.escape(words)}">'
        f'<image width="{columns}" height="{rows}" href="{png_address(picture)}"/>{paths}</svg>'
    )
