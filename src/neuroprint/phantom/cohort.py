"""A cohort of phantoms on disk, in the layout of BraTS: resumable, atomic by case, the same bytes for a seed."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np

from neuroprint.data.files import written_whole
from neuroprint.errors import NeuroprintError
from neuroprint.phantom.clinic import CLINIC_COLUMNS, CLINIC_VERSION, examination
from neuroprint.phantom.seeds import refuse_training_seed
from neuroprint.phantom.types import GENERATOR_VERSION, PHANTOM_MODALITIES, PhantomSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

SETTINGS_FILE = "phantom.json"
TABLE_FILE = "clinic.csv"
"""The clinic's columns, in the form of a manifest."""

_UNFINISHED = ".phantom.unfinished.json"
_LOCK = ".phantom.lock"
_TEMPORARY = ".writing_"
_COMPRESSION = 4
_SPACINGS_MM = (0.8, 8.0)
_CASE = r"Phantom_\d{5,}|Clinic-\d{5,}-\d{3}"
_SUFFIXES = {"flair": "t2f", "t1ce": "t1c", "t1": "t1n", "t2": "t2w", "seg": "seg"}  # of BraTS 2023
_ENHANCING, _ENHANCING_2023 = 4, 3


def case_files(seed: int, index: int, clinic: bool = False) -> dict[str, Path]:
    """Where a case's images and its label lie in the cohort's folder, by modality and ``seg``.

    Default phantoms are named as in BraTS 2021. The clinic's are named as in BraTS 2023, which tells the scans of one
    patient.

    Example:
        >>> case_files(0, 12)["t1"].as_posix()
        'Phantom_00012/Phantom_00012_t1.nii.gz'
        >>> case_files(0, 12, clinic=True)["t1"].as_posix()
        'Clinic-00010-000/Clinic-00010-000-t1n.nii.gz'
    """
    parts = (*PHANTOM_MODALITIES, "seg")
    if clinic:
        name = examination(seed, index).id
        return {part: Path(name, f"{name}-{_SUFFIXES[part]}.nii.gz") for part in parts}
    name = f"Phantom_{index:05d}"
    return {part: Path(name, f"{name}_{part}.nii.gz") for part in parts}


def write_cohort(
    out: Path,
    cases: int = 80,
    spacing_mm: float = 2.0,
    seed: int = 0,
    pose_jitter: bool = False,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
    clinic: bool = False,
) -> None:
    """Writes ``out/Phantom_00000/Phantom_00000_{flair,t1,t1ce,t2,seg}.nii.gz`` and so on, then ``phantom.json``.

    With ``clinic`` it writes ``out/Clinic-00000-000/Clinic-00000-000-{t2f,t1n,t1c,t2w,seg}.nii.gz`` and so on, and before
    ``phantom.json`` the table ``clinic.csv``.

    Cases that an earlier, interrupted call with the same settings has finished are kept; a call on a finished cohort
    does nothing. Two processes may call it at once: the second waits. Files are byte-identical for the same settings,
    whatever ``workers`` is. With more than one worker the calling script needs its ``if __name__ == "__main__"``.

    Args:
        out: Folder of the cohort; made if needed.
        cases: How many.
        spacing_mm: Voxel size, 0.8 to 8.
        seed: Of the cohort, below a million; case ``i`` depends on ``seed`` and ``i`` only.
        pose_jitter: Whether heads are turned, shifted and scaled.
        workers: Processes; by default as many as there are processor cores. 1 works in this process.
        progress: Called with the number of finished cases whenever it has grown.
        clinic: Whether the patients are those of the clinic.

    Raises:
        NeuroprintError: If a setting is out of range, the seed is one for training, or ``out`` holds other settings or
            other files.
    """
    from filelock import FileLock

    if cases < 1 or seed < 0 or not _SPACINGS_MM[0] <= spacing_mm <= _SPACINGS_MM[1]:
        raise NeuroprintError(
            f"phantom cohort: found cases={cases}, spacing_mm={spacing_mm}, seed={seed}; expected at least 1 case, "
            f"a spacing of {_SPACINGS_MM[0]} to {_SPACINGS_MM[1]} mm and a seed of 0 or more"
        )
    refuse_training_seed(seed)
    settings: dict[str, object] = {
        "generator_version": GENERATOR_VERSION,
        "cases": int(cases),
        "spacing_mm": float(spacing_mm),
        "seed": int(seed),
        "pose_jitter": bool(pose_jitter),
        **({"clinic_version": CLINIC_VERSION} if clinic else {}),
    }
    if out.exists() and not out.is_dir():
        raise NeuroprintError(f"{out}: found a file, expected a folder for the phantom cohort; choose another name")
    if out.is_dir():
        _refuse_foreign(out, settings)
    out.mkdir(parents=True, exist_ok=True)
    with FileLock(out / _LOCK):
        _refuse_foreign(out, settings)
        files = [case_files(seed, index, clinic) for index in range(cases)]
        missing = [index for index, paths in enumerate(files) if not all((out / p).is_file() for p in paths.values())]
        has_table = (out / TABLE_FILE).is_file() or not clinic
        if (out / SETTINGS_FILE).exists() and has_table and not missing:
            return
        _write_json(out / _UNFINISHED, settings)
        for leftover in out.glob(f"{_TEMPORARY}*"):
            shutil.rmtree(leftover)
        _write_cases(out, missing, seed, PhantomSettings(spacing_mm, pose_jitter, clinic), workers, progress, cases)
        if clinic:
            _write_table(out / TABLE_FILE, seed, files)
        _write_json(out / SETTINGS_FILE, settings)
        (out / _UNFINISHED).unlink()


def _write_cases(
    out: Path,
    missing: list[int],
    seed: int,
    settings: PhantomSettings,
    workers: int | None,
    progress: Callable[[int], None] | None,
    cases: int,
) -> None:
    done = cases - len(missing)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = min(workers or cores, len(missing))
    if workers <= 1:
        for index in missing:
            _write_case(out, seed, index, settings)
            done += 1
            if progress:
                progress(done)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        with _script_hidden():
            futures = [pool.submit(_write_case, out, seed, index, settings) for index in missing]
        try:
            for future in as_completed(futures):
                future.result()
                done += 1
                if progress:
                    progress(done)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


@contextmanager
def _script_hidden() -> Iterator[None]:
    """A process that starts meanwhile does not run the caller's script again, which need not have a guard against it."""
    main = sys.modules["__main__"]
    kept = {name: vars(main)[name] for name in ("__file__", "__spec__") if name in vars(main)}
    try:
        for name in kept:
            setattr(main, name, None)
        yield
    finally:
        for name, value in kept.items():
            setattr(main, name, value)


def _write_case(out: Path, seed: int, index: int, settings: PhantomSettings) -> None:
    from neuroprint.phantom.generate import build, draws_of

    files = case_files(seed, index, settings.clinic)
    name = files["seg"].parent.name
    phantom = build(draws_of(seed, index, settings), settings, with_tissues=False)
    folder = out / f"{_TEMPORARY}{name}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    label = phantom.label
    if settings.clinic:
        label = np.where(label == _ENHANCING, np.uint8(_ENHANCING_2023), label)
    volumes: dict[str, npt.NDArray[Any]] = {**phantom.images, "seg": label}
    for part, volume in volumes.items():
        (folder / files[part].name).write_bytes(_nifti_bytes(volume, phantom.affine))
    if (out / name).exists():  # incomplete, or it would not be written
        shutil.rmtree(out / name)
    folder.rename(out / name)


def _nifti_bytes(volume: npt.NDArray[Any], affine: npt.NDArray[np.float64]) -> bytes:
    image = nib.Nifti1Image(volume, affine)
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    image.header.set_xyzt_units("mm")
    return gzip.compress(image.to_bytes(), compresslevel=_COMPRESSION, mtime=0)


def _write_table(path: Path, seed: int, files: list[dict[str, Path]]) -> None:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["id", "patient", *PHANTOM_MODALITIES, "label", *CLINIC_COLUMNS])
    for index, paths in enumerate(files):
        scan = examination(seed, index)
        values = [scan.columns.get(column, "") for column in CLINIC_COLUMNS]
        table.writerow([scan.id, scan.patient.id, *(path.as_posix() for path in paths.values()), *values])
    with written_whole(path) as file:
        file.write(text.getvalue().encode())


def _refuse_foreign(out: Path, settings: dict[str, object]) -> None:
    """Raises unless ``out`` is empty or holds this very cohort, finished or not."""
    for name in (SETTINGS_FILE, _UNFINISHED):
        file = out / name
        if not file.exists():
            continue
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
        except ValueError:
            found = None
        if found != settings:
            raise NeuroprintError(
                f"{file}: found a phantom cohort with settings {json.dumps(found)}, expected {json.dumps(settings)}; "
                "give another folder, or delete this one"
            )
    known = (out / SETTINGS_FILE).exists() or (out / _UNFINISHED).exists()
    for entry in sorted(out.iterdir()):
        ours = entry.name == SETTINGS_FILE or (known and re.fullmatch(rf"{_CASE}|{re.escape(TABLE_FILE)}", entry.name))
        if not ours and not entry.name.startswith("."):
            raise NeuroprintError(
                f"{out}: found {entry.name!r}, expected an empty folder or a phantom cohort; give another folder"
            )


def _write_json(path: Path, content: dict[str, object]) -> None:
    with written_whole(path) as file:
        file.write((json.dumps(content, indent=2) + "\n").encode())
