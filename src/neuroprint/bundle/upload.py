"""Taking in a case from a network: limits first, names that cannot climb, and never more in memory than a chunk."""

from __future__ import annotations

import io
import math
import os
import posixpath
import re
import stat
import time
import zipfile
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Protocol

from neuroprint.data.ids import unsafe_id
from neuroprint.data.nifti import MAX_AXIS_MM, MAX_LITERS, open_nifti, space_problem
from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from neuroprint.data.case import Case

_CHUNK = 1 << 20
_LARGEST_READ = _CHUNK  # as a zip's list of files: some 10,000 of them
_IMAGE = re.compile(r"(?P<stem>.+?)(?:[_-](?:flair|t1ce|t1|t2|seg|t2f|t1c|t1n|t2w))?\.nii(?:\.gz)?", re.IGNORECASE)


class UploadError(NeuroprintError):
    """An upload that is not taken.

    Args:
        status: HTTP's status for it.
        message: What was found and what is expected.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Limits:
    """What an upload may be.

    Attributes:
        upload_bytes: As sent.
        files: In a zip or a folder.
        unpacked_bytes: All images of a zip together, compressed as NIfTI or not.
        voxels: Of one image.
        axis_mm: Length of any of its axes: a network's input grows with the space that an image is said to cover.
        liters: That space.
        seconds: For sending it.
    """

    upload_bytes: int = 512 << 20
    files: int = 200
    unpacked_bytes: int = 1 << 30
    voxels: int = 1 << 25
    axis_mm: float = MAX_AXIS_MM
    liters: float = MAX_LITERS
    seconds: float = 600.0


class Stream(Protocol):
    """What bytes are read from."""

    def read1(self, size: int, /) -> bytes:
        """Those that are there, at most ``size``; waits for one at least, and gives none at the end only."""
        ...


def save_zip(stream: Stream, size: int, folder: Path, limits: Limits) -> Path:
    """Save a zip of one case and unpack its images, into a folder named as the case.

    Args:
        stream: The zip.
        size: Its bytes; no more are read.
        folder: An empty folder of this upload's own; nothing is written elsewhere.
        limits: What is taken.

    Returns:
        The case's folder.

    Raises:
        UploadError: It is too large, packed or unpacked, no sound zip, or a name in it points out of it.
    """
    archive = folder / "upload.zip"
    _save(stream, size, archive, limits)
    try:
        with _SmallReads(archive.open("rb", buffering=0)) as file, zipfile.ZipFile(file) as packed:
            images = _images_of(packed, limits)
            case, place_of = _places(folder, [name for name, _ in images])
            left = limits.unpacked_bytes
            for name, entry in images:
                with packed.open(entry) as source:
                    left -= _copy_at_most(source, place_of[name], left)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise UploadError(400, f"the upload is no sound zip ({error}); zip the case's folder again") from error
    finally:
        archive.unlink(missing_ok=True)
    return case


def save_files(stream: Stream, names: Sequence[tuple[str, int]], folder: Path, limits: Limits) -> Path:
    """Save the images of a case's folder, sent one behind the other.

    Args:
        stream: The files' bytes.
        names: Each file's name below the dropped folder and its size, in the order sent.
        folder: As :func:`save_zip` takes it.
        limits: What is taken.

    Returns:
        The case's folder.

    Raises:
        UploadError: As :func:`save_zip` does.
    """
    if len(names) > limits.files:
        raise UploadError(413, f"the folder has {len(names)} files, expected at most {limits.files}")
    placed = [(_inside(name), size) for name, size in names]
    images = [name for name, _ in placed if _is_image(name)]
    case, place_of = _places(folder, images)
    deadline = time.monotonic() + limits.seconds
    for name, size in placed:
        with place_of.get(name, Path(os.devnull)).open("wb") as file:
            _copy(stream, file, size, deadline)
    return case


def check_sizes(case: Case, limits: Limits) -> None:
    """Look at the headers alone: an image that would fill the memory is refused before it is decoded.

    Raises:
        CaseError: A header is damaged.
        UploadError: An image has too many voxels, or covers more space than a head's scan does.
    """
    for image in case.files().values():
        with open_nifti(case.id, image.path) as file:
            voxels = math.prod(file.shape) * file.frames
            problem = space_problem(image.path.name, file.shape, file.affine, limits.axis_mm, limits.liters)
        if voxels > limits.voxels:
            raise UploadError(413, f"{image.path.name} has {voxels} voxels, expected at most {limits.voxels}")
        if problem:
            raise UploadError(413, problem)


class _SmallReads(io.BufferedReader):
    """A file that is read in small pieces only: the list of files of a zip, which is read at once, can claim any size."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            size = os.fstat(self.fileno()).st_size - self.tell()
        if size > _LARGEST_READ:
            raise zipfile.BadZipFile("its list of files is too long")
        return super().read(size)


def _images_of(packed: zipfile.ZipFile, limits: Limits) -> list[tuple[PurePosixPath, zipfile.ZipInfo]]:
    entries = packed.infolist()
    if len(entries) > limits.files:
        raise UploadError(413, f"the zip holds {len(entries)} files, expected at most {limits.files}: zip one case")
    found = []
    for entry in entries:
        name = _inside(entry.filename)
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise UploadError(400, "the zip holds a link, expected files only")
        if entry.is_dir() or not _is_image(name):
            continue
        if entry.flag_bits & 0x1:
            raise UploadError(400, "the zip is encrypted, expected one without a password")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise UploadError(400, "the zip is compressed in a rare way, expected the usual one (deflate)")
        found.append((name, entry))
    if sum(entry.file_size for _, entry in found) > limits.unpacked_bytes:
        raise UploadError(413, f"the zip unpacks to more than {limits.unpacked_bytes >> 20} MiB")
    return found


def _inside(name: str) -> PurePosixPath:
    """A name from outside as a path, if it stays below where it is put."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or "\0" in name or not path.parts:
        raise UploadError(400, f"a file's name points out of the upload ({name[:80]!r}); send a case's folder as it is")
    return path


def _is_image(name: PurePosixPath) -> bool:
    hidden = any(part.startswith((".", "__MACOSX")) for part in name.parts)
    return not hidden and name.name.lower().endswith((".nii", ".nii.gz"))


def _places(folder: Path, images: Sequence[PurePosixPath]) -> tuple[Path, dict[PurePosixPath, Path]]:
    """Make the folder of the case, and say where each image goes: in it, and below it as they came.

    It is named as the innermost folder that they all came in, else by what their names begin with.
    """
    if not images:
        raise UploadError(400, "the upload holds no .nii or .nii.gz file, expected the images of one case")
    if repeated := [name for name, count in Counter(images).items() if count > 1]:
        raise UploadError(400, f"the upload holds {repeated[0].name!r} twice, expected each file once")
    top = PurePosixPath(posixpath.commonpath([name.parent for name in images]))
    below = {name: name.relative_to(top) for name in images}
    if odd := [part for path in below.values() for part in path.parts if unsafe_id(part)]:
        raise UploadError(400, f"the name {odd[0][:80]!r} is not taken: use letters, digits, '.', '_' and '-'")
    stems = Counter(match["stem"] for match in map(_IMAGE.fullmatch, (name.name for name in images)) if match)
    names = [top.name, stems.most_common(1)[0][0]]
    case = folder / "case" / next((name for name in names if not unsafe_id(name)), "query")
    places = {name: case / path for name, path in below.items()}
    for place in places.values():
        place.parent.mkdir(parents=True, exist_ok=True)
    return case, places


def _save(stream: Stream, size: int, file: Path, limits: Limits) -> None:
    if size > limits.upload_bytes:
        raise UploadError(413, f"the upload has {size >> 20} MiB, expected at most {limits.upload_bytes >> 20} MiB")
    with file.open("wb") as target:
        _copy(stream, target, size, time.monotonic() + limits.seconds)


def _copy(stream: Stream, target: io.BufferedWriter, size: int, deadline: float) -> None:
    while size:
        chunk = stream.read1(min(_CHUNK, size))  # read would wait for the whole chunk, however slowly it comes
        if not chunk:
            raise UploadError(400, "the upload ended before all of it was sent")
        if time.monotonic() > deadline:
            raise UploadError(408, "the upload took too long")
        target.write(chunk)
        size -= len(chunk)


def _copy_at_most(source: IO[bytes], file: Path, most: int) -> int:
    """Unpack a file; what a zip says of its files' sizes is not believed."""
    done = 0
    with file.open("wb") as target:
        while chunk := source.read(_CHUNK):
            done += len(chunk)
            if done > most:
                raise UploadError(413, "the zip unpacks to more than it says, or than is taken")
            target.write(chunk)
    return done
