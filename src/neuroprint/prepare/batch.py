"""Many examinations, prepared side by side; what is done already is kept."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuroprint.data.digests import digest, hash_files
from neuroprint.data.files import written_whole
from neuroprint.errors import CaseError, NeuroprintError
from neuroprint.prepare.case import nifti_bytes, prepare_case
from neuroprint.prepare.page import quality_page

if TYPE_CHECKING:
    from neuroprint.prepare.examination import RawExamination
    from neuroprint.prepare.template import BrainTemplate

PREPARE_VERSION = 1
"""Raised when the same files would give other voxels."""

ABOUT = "prepared.json"
QUALITY_PAGE = "quality.html"


@dataclass(frozen=True)
class Outcome:
    """What became of one examination.

    Attributes:
        id: Of the examination.
        verdict: ``good``, ``look at it`` or ``failed``.
        reasons: Why it is not good.
        kept: Whether it was there already, of the same files.
    """

    id: str
    verdict: str
    reasons: tuple[str, ...]
    kept: bool = False


def prepare_all(
    examinations: Sequence[RawExamination],
    out: Path,
    template: BrainTemplate,
    affine: bool = False,
    workers: int | None = None,
    progress: Callable[[Outcome], object] = lambda outcome: None,
) -> list[Outcome]:
    """Prepare examinations into a folder in BraTS layout, each with ``prepared.json`` and ``quality.html``.

    What an earlier call made of the same files, template and options is kept. A case is whole or not there. Of one that
    failed there is only the record.

    Args:
        examinations: See :func:`neuroprint.prepare.examination.find_examinations`.
        out: The folder; made if needed.
        template: Where to.
        affine: See :func:`neuroprint.prepare.case.prepare_case`.
        workers: Processes; by default one a core, at most one a case. Each works with one thread.
        progress: Called with each outcome as it comes.

    Raises:
        NeuroprintError: SimpleITK is not installed, or ``out`` cannot be written.
    """
    if find_spec("SimpleITK") is None:
        raise NeuroprintError("preparing scans needs SimpleITK and deepbet: pip install 'neuroprint[prepare]'")
    out.mkdir(parents=True, exist_ok=True)
    outcomes: list[Outcome] = []

    def note(outcome: Outcome) -> None:
        outcomes.append(outcome)
        progress(outcome)

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = min(workers or cores, len(examinations))
    if workers <= 1:
        for examination in examinations:
            note(_prepared(examination, out, template, affine))
    else:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            futures = [pool.submit(_prepared, examination, out, template, affine) for examination in examinations]
            try:
                for future in as_completed(futures):
                    note(future.result())
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    return sorted(outcomes, key=lambda outcome: outcome.id)


def _prepared(examination: RawExamination, out: Path, template: BrainTemplate, affine: bool) -> Outcome:
    """One case; what goes wrong with it is its outcome, and no other's."""
    folder = out / examination.id
    try:
        key = _key(examination, template, affine)
        if (known := _record(folder)) is not None and known.get("key") == key and _is_whole(folder, known):
            return Outcome(examination.id, known["verdict"], tuple(known["reasons"]), kept=True)
        if folder.exists() and known is None:
            raise CaseError(
                examination.id, f"{folder.name} is in the output folder already and was not made by neuroprint prepare"
            )
        try:
            made = prepare_case(examination, template, affine)
        except CaseError as error:
            _write(folder, {"key": key, "verdict": "failed", "reasons": [error.problem], "files": []}, {})
            return Outcome(examination.id, "failed", (error.problem,))
    except CaseError as error:
        return Outcome(examination.id, "failed", (error.problem,))
    images: dict[str, Any] = dict(made.images)
    if made.label is not None:
        images["seg"] = made.label
    files = {f"{made.id}_{name}.nii.gz": nifti_bytes(array, made.affine) for name, array in images.items()}
    if made.verdict == "failed":
        files = {}
    record = {"key": key, "version": PREPARE_VERSION, "template": template.name, **made.about(), "files": sorted(files)}
    _write(folder, record, {**files, QUALITY_PAGE: quality_page(made, template).encode()})
    return Outcome(made.id, made.verdict, made.reasons)


def _key(examination: RawExamination, template: BrainTemplate, affine: bool) -> str:
    """SHA-256 of all that the voxels depend on."""
    try:
        files = hash_files(path for source in examination.series.values() for path in source.files)
    except OSError as error:
        raise CaseError(examination.id, f"a file cannot be read ({error.strerror}): check the disk") from error
    contents = {name: sorted(files[path] for path in source.files) for name, source in examination.series.items()}
    return digest([PREPARE_VERSION, contents, template.digest, affine, find_spec("deepbet") is not None])


def _record(folder: Path) -> dict[str, Any] | None:
    try:
        record = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def _is_whole(folder: Path, record: Mapping[str, Any]) -> bool:
    return all((folder / name).is_file() for name in record.get("files", []))


def _write(folder: Path, record: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
    """Put a case's folder in place in one step."""
    with _beside(folder) as unfinished:
        for name, content in files.items():
            with written_whole(unfinished / name) as file:
                file.write(content)
        with written_whole(unfinished / ABOUT) as file:
            file.write((json.dumps(record, indent=2) + "\n").encode())
        if folder.exists():
            shutil.rmtree(folder)
        unfinished.rename(folder)


@contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    unfinished = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    try:
        unfinished.mkdir(parents=True)
        yield unfinished
    except OSError as error:
        raise NeuroprintError(f"{folder}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
