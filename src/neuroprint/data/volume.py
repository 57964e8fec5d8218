"""The one place that reads voxels: a case's images and label, decoded once and checked."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import combinations, product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from neuroprint.data.labels import check_label_values
from neuroprint.data.nifti import NiftiFile, open_nifti, space_problem
from neuroprint.errors import CaseError, NeuroprintError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from neuroprint.data.case import Case, ImageFile

GRID_TOLERANCE_MM = 0.1
"""Two affines are one grid if they place every corner of the volume within this distance of each other: far below
a voxel, far above what rounding to float32 in a header does."""


_STEP_SHARE = 0.51  # rounding to the header's step moves a value by half of it
_SINGLE = 4 * float(np.finfo(np.float32).eps)
_LARGEST_STEP = 0.25  # of coarser steps every value would be near a whole number


@dataclass(frozen=True)
class Volume:
    """The voxels of one case, on one grid.

    Attributes:
        images: (C, X, Y, Z), in the order of ``modalities``. Whole numbers keep the file's type, all else is float32.
            Each channel lies in memory as on disk (x fastest): a view, not a C-contiguous array.
        label: (X, Y, Z) uint8, or None.
        affine: Voxel to world RAS+ mm, (4, 4) float64.
        modalities: Name of each channel.
        doubts: What is odd about the files, though they can be read, a line each.
    """

    images: np.ndarray
    label: np.ndarray | None
    affine: np.ndarray
    modalities: tuple[str, ...]
    doubts: tuple[str, ...] = ()


def read_volume(case: Case, modalities: Sequence[str], label: bool = True) -> Volume:
    """Read modalities of a case, and its label where there is one, each file once.

    Headers are compared before anything is decoded. Files are decoded side by side, straight into the result.

    Args:
        case: The case.
        modalities: Names in the order wanted, at least one, none twice.
        label: Whether to read the label too.

    Raises:
        CaseError: A file is missing, damaged, oversized, no NIfTI or said to cover more space than a head; modalities or
            label lie on different grids; a modality is constant or holds NaN or infinite voxels; the label holds values
            its convention does not know.
        NeuroprintError: ``modalities`` is empty or names one twice.
    """
    if not modalities or len(set(modalities)) < len(modalities):
        raise NeuroprintError(f"modalities must be named, each once; found {list(modalities)}")
    sources = [_source(case, modality) for modality in modalities]
    label_source = case.label if label else None
    with ExitStack() as stack:
        files = {
            path: stack.enter_context(open_nifti(case.id, path)) for path in dict.fromkeys(s.path for s in sources)
        }
        frames = [_frame(files[source.path], source) for source in sources]
        reference = files[sources[0].path]
        if problem := space_problem(reference.path.name, reference.shape, reference.affine):
            raise CaseError(case.id, problem)
        for file in files.values():
            _check_same_grid(reference, file)
        label_job = None
        if label_source:
            label_file = stack.enter_context(open_nifti(case.id, label_source.path))
            _check_same_grid(reference, label_file)
            label_job = partial(_read_label, case, label_file, _frame(label_file, label_source))

        images = np.empty((len(sources), *reference.shape[::-1]), _common_dtype(list(files.values())))
        jobs = []
        for path, file in files.items():
            mine = [c for c, source in enumerate(sources) if source.path == path]
            if len({frames[c] for c in mine}) < len(mine):
                names = " and ".join(modalities[c] for c in mine)
                raise CaseError(case.id, f"{path.name} is given as {names}, expected a file each; name the right files")
            jobs.append(partial(_read_images, file, {frames[c]: (modalities[c], images[c]) for c in mine}))
        with ThreadPoolExecutor(min(len(jobs) + 1, os.cpu_count() or 1)) as pool:
            running = [pool.submit(job) for job in jobs]
            reading_label = pool.submit(label_job) if label_job else None
            for future in running:
                future.result()
            labels = reading_label.result() if reading_label else None
    doubts = [reference.doubt] if reference.doubt else []
    doubts += _images_alike(images, sources)
    return Volume(images.transpose(0, 3, 2, 1), labels, reference.affine, tuple(modalities), tuple(doubts))


def _images_alike(images: np.ndarray, sources: Sequence[ImageFile]) -> list[str]:
    """A line for each image that is there twice: two modalities are never the same, voxel by voxel."""
    found = []
    for (one, first), (other, second) in combinations(zip(images, sources, strict=True), 2):
        middle = len(one) // 2
        if np.array_equal(one[middle], other[middle]) and np.array_equal(one, other):
            found.append(
                f"{second.path.name} holds the same image as {first.path.name}: one of the two modalities is missing; "
                "put the right file in its place"
            )
    return found


def _source(case: Case, modality: str) -> ImageFile:
    if modality not in case.images:
        raise CaseError(
            case.id,
            f"there is no modality '{modality}', only {', '.join(case.images) or 'none'}; add its file to the case",
        )
    return case.images[modality]


def _frame(file: NiftiFile, source: ImageFile) -> int:
    if source.channel is None and file.frames > 1:
        raise CaseError(
            file.case,
            f"{file.path.name} is 4-D ({file.frames} images in one file), expected 3-D; "
            "split it into one file per modality",
        )
    channel = source.channel or 0
    if not 0 <= channel < file.frames:
        raise CaseError(
            file.case,
            f"{file.path.name} has {file.frames} channel(s), expected a channel {channel} (counted from 0); "
            "correct the list of channels in the dataset's description or the file",
        )
    return channel


def _check_same_grid(reference: NiftiFile, file: NiftiFile) -> None:
    if file.shape != reference.shape:
        found, expected = (" x ".join(map(str, f.shape)) for f in (file, reference))
        raise CaseError(
            file.case,
            f"{file.path.name} has {found} voxels, expected {expected} as {reference.path.name} has; "
            "resample the images and the label to one grid",
        )
    corners = np.array([(*corner, 1) for corner in product(*((0, n - 1) for n in file.shape))], dtype=np.float64)
    apart = np.linalg.norm(corners @ (file.affine - reference.affine).T, axis=1).max()
    if apart > GRID_TOLERANCE_MM:
        raise CaseError(
            file.case,
            f"{file.path.name} lies {apart:.1f} mm off {reference.path.name} by its affine, expected at most "
            f"{GRID_TOLERANCE_MM} mm; register and resample the images and the label to one grid",
        )


def _common_dtype(files: list[NiftiFile]) -> np.dtype:
    dtype = np.result_type(*(file.voxel_dtype for file in files))
    return np.dtype(np.float32) if dtype.kind == "f" else dtype


def _read_images(file: NiftiFile, wanted: dict[int, tuple[str, np.ndarray]]) -> None:
    file.read_frames({frame: array for frame, (_, array) in wanted.items()})
    for modality, array in wanted.values():
        low, high = array.min(), array.max()  # NaN propagates into both
        if not (np.isfinite(low) and np.isfinite(high)):
            count = array.size - int(np.isfinite(array).sum())
            raise CaseError(
                file.case,
                f"{file.path.name} ({modality}) has {count} voxels that are NaN or infinite, expected numbers; "
                "replace them (background by 0) or export the image again",
            )
        if low == high:
            raise CaseError(
                file.case,
                f"{file.path.name} ({modality}) is {low} everywhere, expected an image; export the image again",
            )


def _read_label(case: Case, file: NiftiFile, frame: int) -> np.ndarray:
    raw = np.empty(file.shape[::-1], np.float64 if file.voxel_dtype.kind == "f" else file.voxel_dtype)
    file.read_frames({frame: raw})
    name = Path(file.path).name
    if raw.dtype.kind == "f":
        raw = _whole(case, file, raw)
    values = np.unique(raw[raw != 0])
    if len(values) and (values.min() < 0 or values.max() > 255):
        raise CaseError(
            case.id,
            f"{name} holds values from {values.min():g} to {values.max():g}, expected label numbers from 0 to 255; "
            "check that it is the label and not an image",
        )
    check_label_values(case.id, name, case.label_convention, [int(v) for v in values])
    return raw.astype(np.uint8, copy=False).transpose(2, 1, 0)


def _whole(case: Case, file: NiftiFile, raw: np.ndarray) -> np.ndarray:
    """A label's values as whole numbers, where its file can hold them no more exactly than they are.

    A tool that saves real numbers under the header of whole ones scales them: 1 becomes 1.00392.
    """
    name = Path(file.path).name
    values = np.unique(raw)
    if not np.isfinite(values).all():
        count = int(raw.size - np.isfinite(raw).sum())
        raise CaseError(
            case.id,
            f"{name} has {count} voxel(s) that are NaN or infinite, expected label numbers; write the label again",
        )
    apart = np.abs(values - np.rint(values))
    step = abs(file.scale[0]) if file.scale and file.dtype.kind in "iu" else 0.0
    lost = _STEP_SHARE * step if step <= _LARGEST_STEP else 0.0
    if (apart > np.maximum(lost, _SINGLE * np.abs(values))).any():
        shown = ", ".join(f"{v:g}" for v in values[apart > 0][:3])
        raise CaseError(
            case.id,
            f"{name} holds values that are not whole ({shown}), expected label numbers; "
            "it was probably resampled with interpolation: resample the label with nearest neighbor",
        )
    return np.asarray(np.rint(raw))
