"""Task01_BrainTumour of the Medical Segmentation Decathlon (Antonelli et al. 2022): one 4-D file per case."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from neuroprint.data.case import Case, Cohort, ImageFile
from neuroprint.data.ids import unsafe_id
from neuroprint.errors import NeuroprintError

_MODALITIES = {
    "flair": "flair",
    "t1": "t1",
    "t1w": "t1",
    "t1gd": "t1ce",
    "t1ce": "t1ce",
    "t1c": "t1ce",
    "t2": "t2",
    "t2w": "t2",
}
_LAYOUT = "expected the unpacked Task01_BrainTumour with dataset.json, imagesTr and labelsTr"


def find_msd(root: Path) -> Cohort:
    """Find the training cases; the order of the channels is what ``dataset.json`` says.

    The test images (``imagesTs``) have no label and are left out. A case that ``dataset.json`` lists and that is not
    on disk is excluded with the reason.

    Raises:
        NeuroprintError: The root is not Task01_BrainTumour, or its description is damaged or names other modalities.
    """
    description = _description(root)
    channels = _channels(root, description)
    on_disk = {_case_id(path.name): path for path in _niftis(root / "imagesTr")}
    if not on_disk:
        raise NeuroprintError(f"{root / 'imagesTr'} holds no image;\n{_LAYOUT};\nunpack the archive again")
    labels = {_case_id(path.name): path for path in _niftis(root / "labelsTr")}
    excluded = {
        case_id: f"imagesTr/{case_id}.nii.gz is listed in dataset.json but not there; unpack the archive again"
        for case_id in _listed(description)
        if case_id not in on_disk
    }
    cases = []
    for case_id, path in sorted(on_disk.items()):
        if problem := unsafe_id(case_id):
            excluded[case_id] = f"{problem}; rename the file"
            continue
        images = {name: ImageFile(path, channel) for channel, name in enumerate(channels)}
        label = ImageFile(labels[case_id]) if case_id in labels else None
        cases.append(Case(case_id, case_id, images, label, "msd"))
    return Cohort("msd", tuple(cases), "world", dict(sorted(excluded.items())))


def _description(root: Path) -> dict[str, Any]:
    path = root / "dataset.json"
    if not path.is_file():
        inner = root / "Task01_BrainTumour"
        hint = f"pass the folder {inner}" if (inner / "dataset.json").is_file() else "pass the folder that holds it"
        raise NeuroprintError(f"there is no {path};\n{_LAYOUT};\n{hint}")
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise NeuroprintError(f"{path} cannot be read ({error});\nexpected JSON; unpack the archive again") from error
    if not isinstance(description, dict):
        raise NeuroprintError(f"{path} holds no JSON object;\n{_LAYOUT};\nunpack the archive again")
    return description


def _channels(root: Path, description: dict[str, Any]) -> list[str]:
    path = root / "dataset.json"
    named = description.get("modality", description.get("channel_names"))
    wanted = 'expected "modality": {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"}'
    if not isinstance(named, dict) or sorted(named) != [str(i) for i in range(len(named))]:
        raise NeuroprintError(f"{path} does not list its channels from 0 on (found {named!r});\n{wanted}; correct it")
    order = [_MODALITIES.get(str(named[str(i)]).strip().lower(), "") for i in range(len(named))]
    if sorted(order) != sorted(set(_MODALITIES.values())):
        raise NeuroprintError(
            f"{path} lists the channels {', '.join(map(str, named.values()))};\n"
            f"{wanted}, in any order; pass the brain tumor task or correct the names"
        )
    return order


def _listed(description: dict[str, Any]) -> list[str]:
    training = description.get("training")
    if not isinstance(training, list):
        return []
    images = (entry.get("image") if isinstance(entry, dict) else entry for entry in training)
    return [_case_id(Path(image).name) for image in images if isinstance(image, str)]


def _niftis(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [p for p in folder.iterdir() if p.name.endswith((".nii", ".nii.gz")) and not p.name.startswith(".")]


def _case_id(file_name: str) -> str:
    return file_name.removesuffix(".gz").removesuffix(".nii")
