"""MIPs of a case as vector drawings: the scan, the tumor's outline, and letters that say which side is which."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Final

from neuroprint.data.mips import PLANES
from neuroprint.data.outlines import outline_path, png_address

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

CONVENTION: Final = (
    "Radiological convention: in axial and coronal pictures the patient's right (R) is on the left, as if you stood at "
    "the patient's feet and looked towards the head; sagittal pictures are seen from the patient's left, the front on "
    "the left. R right, L left, A front, P back, S up, I down."
)
# Letters left, right, above and below, as neuroprint.data.mips turns its pictures.
_LETTERS: Final = {"axial": "RLAP", "coronal": "RLSI", "sagittal": "APSI"}
_PICTURE, _MARGIN = 96.0, 11.0
_SIDE: Final = _PICTURE + 2 * _MARGIN


def case_plates(
    mips: Mapping[str, NDArray[np.uint8]],
    outlines: Mapping[str, NDArray[np.bool_]],
    name: str,
    sizes_mm: Mapping[str, tuple[float, float]] | None = None,
    longest_mm: float | None = None,
) -> str:
    """The three planes of a case as SVG, in the order axial, coronal, sagittal, on one scale.

    Tiles are of one size. Cases that are shown side by side are of one scale too if they are given the same ``longest_mm``.

    Args:
        mips: (rows, columns) uint8 by plane, first row on top.
        outlines: Tumor masks by plane, of the same shapes; one without a pixel has no outline.
        name: The case's id, for those who do not see the picture.
        sizes_mm: Height and width by plane; None takes pixels for millimeters.
        longest_mm: What fills a tile; by default the longest side of this case's pictures.
    """
    sizes = dict(sizes_mm) if sizes_mm else {plane: picture.shape for plane, picture in mips.items()}
    scale = _PICTURE / (longest_mm or longest_side(sizes))
    return "\n".join(
        _plate(plane, mips[plane], outlines.get(plane), (sizes[plane][0] * scale, sizes[plane][1] * scale), name)
        for plane in PLANES
        if plane in mips
    )


def longest_side(*sizes_mm: Mapping[str, tuple[float, float]]) -> float:
    """The longest side of the pictures of cases, mm."""
    return max((side for sizes in sizes_mm for size in sizes.values() for side in size), default=1.0)


def _plate(
    plane: str, picture: NDArray[np.uint8], mask: NDArray[np.bool_] | None, size: tuple[float, float], name: str
) -> str:
    rows, columns = picture.shape
    (high, wide), left, top = size, (_SIDE - size[1]) / 2, (_SIDE - size[0]) / 2
    outline = "" if mask is None else outline_path(mask)
    drawn = f'<path class="outline" d="{outline}"/>' if outline else ""
    words = f"{plane} maximum intensity projection of {name}" + (", tumor outlined" if outline else "")
    before, after, above, below = list(_LETTERS[plane])
    middle, edge = _SIDE / 2, _MARGIN / 2
    letters = "".join(
        f'<text x="{x:g}" y="{y:g}">{letter}</text>'
        for letter, x, y in (
            (before, edge, middle),
            (after, _SIDE - edge, middle),
            (above, middle, edge),
            (below, middle, _SIDE - edge),
        )
    )
    return (
        f'<svg class="plate" viewBox="0 0 {_SIDE:g} {_SIDE:g}" role="img" aria-label="{html.escape(words)}">'
        f'<g transform="translate({left:.2f} {top:.2f}) scale({wide / columns:.4f} {high / rows:.4f})">'
        f'<image width="{columns}" height="{rows}" preserveAspectRatio="none" href="{png_address(picture)}"/>{drawn}</g>'
        f'<g class="letters">{letters}</g><text class="plane" x="4" y="{_SIDE - 4:g}">{plane}</text></svg>'
    )
