"""Where the brain is in a head: by deepbet's networks, trained on 7,837 T1 scans (see :mod:`neuroprint.encoders.deepbet`)."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from neuroprint.prepare.grids import on_cubes, to_array

if TYPE_CHECKING:
    import SimpleITK as sitk

LEAST_ML, MOST_ML = 700.0, 2300.0
"""Volume of a brain, children's from two years on and the largest of adults' included."""

_STRIPPED_ML = 2300.0


def is_stripped(image: sitk.Image) -> bool:
    """Whether a scan shows a brain alone: most of it is exactly 0, and what is not would fit into a skull.

    A head of which the air is 0 fills twice as much.
    """
    import SimpleITK as sitk

    array = sitk.GetArrayViewFromImage(image)
    ml = np.count_nonzero(array) * float(np.prod(image.GetSpacing())) / 1000
    return bool(array.min() == 0 and ml < _STRIPPED_ML and _corners_are_zero(array))


def brain_mask(t1: sitk.Image) -> sitk.Image | None:
    """The brain of a T1, uint8 on cubes of 1 mm; None where deepbet is not installed or finds no brain.

    Args:
        t1: With or without contrast, float32, at least 0.
    """
    import SimpleITK as sitk

    if find_spec("deepbet") is None:
        return None
    cubes = sitk.DICOMOrient(on_cubes(t1, 1.0, smooth=False), "RAS")
    found = _by_deepbet(np.ascontiguousarray(to_array(cubes)))
    if found is None:
        return None
    ml = float(found.sum()) / 1000
    if not LEAST_ML <= ml <= MOST_ML:
        return None
    mask = sitk.GetImageFromArray(np.ascontiguousarray(found.transpose(2, 1, 0)))
    mask.CopyInformation(cubes)
    return mask


def _by_deepbet(array: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8] | None:
    import torch
    from deepbet.bet import BrainExtraction

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in another order give other last digits, and a mask another edge
    try:
        network = BrainExtraction(no_gpu=True)
        mask = network.postprocess(network.run_model(array.astype(np.float32)) > 0.5)
    except (AssertionError, ValueError):  # no foreground
        return None
    finally:
        torch.set_num_threads(threads)
    return np.asarray(mask).astype(np.uint8)


def _corners_are_zero(array: npt.NDArray[np.generic]) -> bool:
    return not any(array[z, y, x] for z in (0, -1) for y in (0, -1) for x in (0, -1))
