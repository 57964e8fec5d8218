"""A cohort of phantoms on disk, in the layout of BraTS 2021: resumable, atomic by case, the same bytes for a seed."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import nibabel as nib

from neuroprint.data.files import written_whole
from neuroprint.errors import NeuroprintError
from neuroprint.phantom.seeds import refuse_training_seed
from neuroprint.phantom.types import GENERATOR_VERSION, PHANTOM_MODALITIES, PhantomSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

SETTINGS_FILE = "phantom.json"

_UNFINISHED = ".phantom.unfinished.json"
_LOCK = ".phantom.lock"
_TEMPORARY = ".writing_"
_COMPRESSION = 4
_SPACINGS_MM = (0.8, 8.0)


def case_name(index: int) -> str:
    """Folder of a case, such as ``Phantom_00012``."""
    return f"Phantom_{index:05d}"


def write_cohort(
    out: Path,
    cases: int = 80,
    spacing_mm: float = 2.0,
    seed: int = 0,
    pose_jitter: bool = False,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Writes ``out/Phantom_00000/Phantom_00000_{flair,t1,t1ce,t2,seg}.nii.gz`` and so on, then ``phantom.json``.

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
    }
    if out.exists() and not out.is_dir():
        raise NeuroprintError(f"{out}: found a file, expected a folder for the phantom cohort; choose another name")
    if out.is_dir():
        _refuse_foreign(out, settings)
    out.mkdir(parents=True, exist_ok=True)
    with FileLock(out / _LOCK):
        _refuse_foreign(out, settings)
        if (out / SETTINGS_FILE).exists() and all(_is_complete(out, i) for i in range(cases)):
            return
        _write_json(out / _UNFINISHED, settings)
        for leftover in out.glob(f"{_TEMPORARY}*"):
            shutil.rmtree(leftover)
        missing = [i for i in range(cases) if not _is_complete(out, i)]
        _write_cases(out, missing, seed, PhantomSettings(spacing_mm, pose_jitter), workers, progress, cases)
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
    from neuroprint.phantom.generate import build

    name = case_name(index)
    phantom = build(seed, index, settings, with_tissues=False)
    folder = out / f"{_TEMPORARY}{name}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    volumes: dict[str, npt.NDArray[Any]] = {**phantom.images, "seg": phantom.label}
    for part, volume in volumes.items():
        (folder / f"{name}_{part}.nii.gz").write_bytes(_nifti_bytes(volume, phantom.affine))
    if (out / name).exists():  # incomplete, or it would not be written
        shutil.rmtree(out / name)
    folder.rename(out / name)


def _nifti_bytes(volume: npt.NDArray[Any], affine: npt.NDArray[np.float64]) -> bytes:
    image = nib.Nifti1Image(volume, affine)
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    image.header.set_xyzt_units("mm")
    return gzip.compress(image.to_bytes(), compresslevel=_COMPRESSION, mtime=0)


def _is_complete(out: Path, index: int) -> bool:
    name = case_name(index)
    return all((out / name / f"{name}_{part}.nii.gz").is_file() for part in (*PHANTOM_MODALITIES, "seg"))


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
        ours = entry.name == SETTINGS_FILE or (known and re.fullmatch(r"Phantom_\d{5,}", entry.name))
        if not ours and not entry.name.startswith("."):
            raise NeuroprintError(
                f"{out}: found {entry.name!r}, expected an empty folder or a phantom cohort; give another folder"
            )


def _write_json(path: Path, content: dict[str, object]) -> None:
    with written_whole(path) as file:
        file.write((json.dumps(content, indent=2) + "\n").encode())
