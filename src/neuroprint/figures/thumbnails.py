"""Small pictures inside a page: JPEG as data, within a budget of bytes."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# Longest side in pixels and JPEG quality, best first.
_SIZES: Final = ((224, 85), (160, 82), (128, 78), (96, 75), (72, 70), (48, 60))
_TRIED: Final = 24


def data_uris(pictures: Sequence[NDArray[np.uint8] | None], budget: int) -> list[str | None]:
    """Encode gray pictures so that all of them together take no more than a budget of characters.

    The size is the largest that fits, judged by a sample. Where even the smallest does not fit, or the sample
    misled, the last pictures are left out.

    Args:
        pictures: (rows, columns) uint8 arrays, or None where there is none.
        budget: Characters for all of them.

    Returns:
        A ``data:image/jpeg`` address per picture, None where there is none or no room.
    """
    given = [picture for picture in pictures if picture is not None and picture.size]
    if not given:
        return [None] * len(pictures)
    sample = given[:: max(1, len(given) // _TRIED)]
    size = _SIZES[-1]
    for size in _SIZES:
        mean = sum(len(_encode(picture, *size)) for picture in sample) / len(sample)
        if mean * len(given) * 1.1 < budget:
            break
    uris: list[str | None] = []
    for picture in pictures:
        uri = _encode(picture, *size) if picture is not None and picture.size and budget > 0 else None
        budget -= len(uri or "")
        uris.append(uri if budget >= 0 else None)
    return uris


def _encode(picture: NDArray[Any], longest: int, quality: int) -> str:
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(picture, dtype=np.uint8))
    image.thumbnail((longest, longest))
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=quality, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
