"""One NIfTI file: its header checked first, then its frames decoded straight into place."""

from __future__ import annotations

import gzip
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
from isal import igzip, isal_zlib
from nibabel.affines import voxel_sizes
from nibabel.spatialimages import HeaderDataError

from neuroprint.data.files import open_regular
from neuroprint.errors import CaseError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from io import BufferedIOBase
    from pathlib import Path

MAX_AXIS = 1024
MAX_VOXELS = 2**28
MAX_AXIS_MM, MAX_LITERS = 600.0, 20.0
"""How much space a head's scan covers at most. A few MB whose header says more would be a network's input of terabytes."""
_MIN_AXIS_MM = 1.0  # a header in meters makes a head of 0.24 mm
_ONE_PLACE_MM = 1.0
_MAX_HEADER_BYTES = 2**26
_CHUNK_BYTES = 2**20
_AGAIN = "copy or download it again"


@contextmanager
def file_errors(case: str, path: Path) -> Iterator[None]:
    """Turn what goes wrong while a file is read into one line about that file."""
    try:
        yield
    except FileNotFoundError as error:
        raise CaseError(case, f"{path.name} is not there: expected a NIfTI file; {_AGAIN}") from error
    except PermissionError as error:
        raise CaseError(case, f"{path.name} may not be read (permission denied): give yourself read access") from error
    except IsADirectoryError as error:
        raise CaseError(case, f"{path.name} is a folder, expected a NIfTI file; move the file out of it") from error
    except EOFError as error:
        raise CaseError(case, f"{path.name} is cut off: it ends before its last voxel; {_AGAIN}") from error
    except (gzip.BadGzipFile, isal_zlib.IsalError) as error:  # type: ignore[misc]  # its stub takes the class for an object
        raise CaseError(case, f"{path.name} is damaged: its compressed data do not decode; {_AGAIN}") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise CaseError(case, f"{path.name} cannot be read ({reason}): check the disk, then {_AGAIN}") from error


@dataclass(frozen=True)
class NiftiFile:
    """An open NIfTI file whose header is sound and whose voxels are not yet decoded.

    Attributes:
        shape: Voxels (X, Y, Z) of one frame.
        frames: Number of 3-D frames: 1, or the length of the fourth axis.
        dtype: Type of a voxel on disk, with its byte order.
        scale: Slope and intercept, or None where voxels are what the file says.
        affine: Voxel to world RAS+ mm, (4, 4).
        offset: Byte of the first voxel in the decompressed file.
        doubt: What the header leaves open about where the scan lies, in words; empty where nothing is.
    """

    case: str
    path: Path
    stream: BufferedIOBase
    shape: tuple[int, int, int]
    frames: int
    dtype: np.dtype
    scale: tuple[float, float] | None
    affine: np.ndarray
    offset: int
    doubt: str = ""

    @property
    def lengths_mm(self) -> np.ndarray:
        """How far the image reaches along each of its axes, (3,)."""
        return np.asarray(self.shape * voxel_sizes(self.affine))

    @property
    def voxel_dtype(self) -> np.dtype:
        """Type that holds the file's voxels: its own for whole numbers, float32 for all else."""
        whole = self.scale is None and self.dtype.kind in "iu"
        return self.dtype.newbyteorder("=") if whole else np.dtype(np.float32)

    def read_frames(self, wanted: Mapping[int, np.ndarray]) -> None:
        """Decode frames into arrays of shape (Z, Y, X), C-contiguous: the order of the voxels on disk.

        Args:
            wanted: Where each frame goes, by its number.

        Raises:
            CaseError: The file is cut off, damaged or has become unreadable.
        """
        last = max(wanted)
        with file_errors(self.case, self.path):
            self.stream.seek(self.offset)
            for frame in range(last + 1):
                into = wanted.get(frame)
                if into is not None and into.dtype == self.dtype and self.scale is None:
                    self._fill(into)
                    continue
                raw = np.empty(self.shape[::-1], self.dtype)
                self._fill(raw)
                if into is not None:
                    self._convert(raw, into)
            if last == self.frames - 1:
                self._check_end()

    def _check_end(self) -> None:
        """Refuse a file that goes on after its last voxel as an image would: its header tells a smaller type or size."""
        expected = int(np.prod(self.shape)) * self.frames * self.dtype.itemsize
        more, empty = 0, True
        while more < expected and (chunk := self.stream.read(min(_CHUNK_BYTES, expected - more))):
            more += len(chunk)  # the end must be reached in any case: only there is the gzip checksum compared
            empty = empty and not any(chunk)
        if not empty and 2 * more >= expected:
            raise CaseError(
                self.case,
                f"{self.path.name} is longer than its header says: after the {expected} bytes of its voxels of type "
                f"{self.dtype} there is more image; correct the data type or the size in the header, or {_AGAIN}",
            )

    def _fill(self, into: np.ndarray) -> None:
        target = into.reshape(-1).view(np.uint8).data
        done = 0
        while done < len(target):
            chunk = self.stream.read(min(_CHUNK_BYTES, len(target) - done))
            if not chunk:
                raise EOFError
            target[done : done + len(chunk)] = chunk
            done += len(chunk)

    def _convert(self, raw: np.ndarray, into: np.ndarray) -> None:
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is found as infinite voxels
            np.copyto(into, raw, casting="unsafe")
            if self.scale is not None:
                into *= self.scale[0]
                into += self.scale[1]


@contextmanager
def open_nifti(case: str, path: Path) -> Iterator[NiftiFile]:
    """Open a NIfTI-1 or NIfTI-2 file, compressed or not, and check its header before any voxel is decoded.

    Compression is told by the file's first bytes, not by its name.

    Raises:
        CaseError: The file is missing, unreadable, empty, no NIfTI, or its header describes no sound 3-D or 4-D image
            of at most 1024 voxels along an axis and 2^28 in all.
    """
    with file_errors(case, path):
        plain = open_regular(path)
    with plain:
        with file_errors(case, path):
            compressed = plain.read(2) == b"\x1f\x8b"
            plain.seek(0)
            stream = igzip.IGzipFile(fileobj=plain, mode="rb") if compressed else plain
            head = stream.read(nib.Nifti2Header.sizeof_hdr)
        yield _described(case, path, stream, head)


def _described(case: str, path: Path, stream: BufferedIOBase, head: bytes) -> NiftiFile:
    header = _parsed(case, path, head)
    try:
        shape = tuple(int(n) for n in header.get_data_shape())
        dtype = header.get_data_dtype()
        slope, inter = header.get_slope_inter()
        affine = np.asarray(header.get_best_affine(), dtype=np.float64)
        offset = max(int(header.get_data_offset()), header.single_vox_offset)
    except (KeyError, ValueError, OverflowError, HeaderDataError) as error:
        raise CaseError(case, f"{path.name} has a damaged header ({error}): write or download it again") from error

    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    _check_size(case, path, shape)
    if dtype.kind not in "iuf":
        raise CaseError(
            case, f"{path.name} holds voxels of type {dtype}, expected whole or real numbers; save it as a plain image"
        )
    if offset > _MAX_HEADER_BYTES:
        raise CaseError(
            case,
            f"{path.name} has a damaged header (voxels said to start at byte {offset}): write or download it again",
        )
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise CaseError(
            case,
            f"{path.name} has a singular affine (a voxel of zero size), expected one that places every voxel in space; "
            "correct the header's sform or qform and its voxel sizes",
        )
    scale = None if slope is None or (slope, inter) == (1.0, 0.0) else (float(slope), float(inter))
    frames = shape[3] if len(shape) == 4 else 1
    grid = (shape[0], shape[1], shape[2])
    return NiftiFile(case, path, stream, grid, frames, dtype, scale, affine, offset, _doubt(path.name, header, shape))


def space_problem(
    name: str, shape: Sequence[int], affine: np.ndarray, axis_mm: float = MAX_AXIS_MM, liters: float = MAX_LITERS
) -> str:
    """What is wrong with the space that an image is said to cover, in a line; empty where nothing is.

    Args:
        name: Of the image's file.
        shape: Its voxels; of more than three axes the first three count.
        affine: Voxel to world RAS+ mm, (4, 4).
        axis_mm: The most along an axis.
        liters: The most in all.
    """
    lengths = shape[:3] * voxel_sizes(affine)
    if _MIN_AXIS_MM <= lengths.max() <= axis_mm and lengths.prod() <= liters * 1e6:
        return ""
    said = " x ".join(f"{length:.3g}" if length < 1 else f"{length:.0f}" for length in lengths)
    return (
        f"{name} is said to cover {said} mm, expected at most {axis_mm:.0f} mm along an axis and {liters:g} liters, and "
        f"{_MIN_AXIS_MM:g} mm at least; correct the voxel sizes in its header"
    )


def _doubt(name: str, header: nib.Nifti1Header, shape: tuple[int, ...]) -> str:
    """What the header leaves open about where the scan lies."""
    sform, qform = (affine for affine, _ in (header.get_sform(coded=True), header.get_qform(coded=True)))
    if sform is None and qform is None:
        return (
            f"{name} has no orientation (neither sform nor qform is set): left and right cannot be told, and its tumor's "
            "place cannot be compared; set the header's sform"
        )
    if sform is None or qform is None:
        return ""
    corners = np.array([(*corner, 1) for corner in product(*((0, n - 1) for n in shape[:3]))], np.float64)
    apart = np.linalg.norm(corners @ (sform - qform).T, axis=1).max()
    if not apart > _ONE_PLACE_MM:
        return ""
    return f"{name} lies at two places: its sform and its qform are {apart:.0f} mm apart; the sform is used: make them agree"


def _parsed(case: str, path: Path, head: bytes) -> nib.Nifti1Header:
    if not head:
        raise CaseError(case, f"{path.name} is empty, expected a NIfTI image; {_AGAIN}")
    for kind in (nib.Nifti1Header, nib.Nifti2Header):
        block = head[: kind.sizeof_hdr]
        sizes = {int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big")}
        if len(block) == kind.sizeof_hdr and kind.sizeof_hdr in sizes:
            header = kind(block, check=False)
            if bytes(header["magic"].item()).startswith(kind.single_magic[:3]):
                return header
    raise CaseError(
        case, f"{path.name} is no NIfTI file (its first bytes say otherwise), expected .nii or .nii.gz; convert it"
    )


def _check_size(case: str, path: Path, shape: tuple[int, ...]) -> None:
    said = " x ".join(map(str, shape))
    if len(shape) not in (3, 4) or min(shape) < 1:
        raise CaseError(
            case,
            f"{path.name} has the shape {said or '()'}, expected three axes, or a fourth of channels; convert it",
        )
    if max(shape) > MAX_AXIS or np.prod(shape, dtype=object) > MAX_VOXELS:
        raise CaseError(
            case,
            f"{path.name} says it has {said} voxels, expected at most {MAX_AXIS} along an axis and {MAX_VOXELS} "
            "in all; its header is damaged, or the image must be resampled",
        )
