"""What a picture in a page of HTML is made of: the outline of a mask, and an image as an address."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import numpy.typing as npt


def outline_path(mask: npt.NDArray[np.bool_]) -> str:
    """The edge of a mask as an SVG path in pixels, the origin at the corner of the first; empty where there is none."""
    from contourpy import contour_generator

    # A rim of background closes outlines that touch the picture's edge; pixel centers lie at half integers.
    padded = np.pad(mask.astype(np.float64), 1)
    lines: list[npt.NDArray[np.float64]] = contour_generator(z=padded).lines(0.5)  # type: ignore[assignment]
    return "".join("M" + "L".join(f"{x - 0.5:g} {y - 0.5:g}" for x, y in line[:-1]) + "Z" for line in lines)


def png_address(picture: npt.NDArray[Any]) -> str:
    """A gray picture (rows, columns), 0 to 255, as a ``data:`` address."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture, dtype=np.uint8)).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
