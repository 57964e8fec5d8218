"""Task01_BrainTumour of the Medical Segmentation Decathlon (Antonelli et al. 2022): one 4-D file per case."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from neuroprint.data.case import Case, ImageFile
from neuroprint.data.cohort import Cohort
from neuroprint.data.files import NIFTI
from neuroprint.data.ids import unsafe_id
from neuroprint.data.nifti import open_nifti
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
_PUBLISHED = ("flair", "t1", "t1ce", "t2")
_LAYOUT = "expected the unpacked Task01_BrainTumour with dataset.json, imagesTr and labelsTr"


class MSDFormat:
    """Task01_BrainTumour, whose channels are in the order that ``dataset.json`` says.

    The test images (``imagesTs``) have no label and are no part of the cohort. A case that ``dataset.json`` lists and that is
    not on disk is excluded with the reason.

    Args:
        root: The unpacked task, with ``dataset.json`` in it.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser()

    @staticmethod
    def recognizes(path: Path) -> bool:
        """A folder with a ``dataset.json``."""
        return (path / "dataset.json").is_file()

    def cohort(self) -> Cohort:
        """The training cases.

        Raises:
            NeuroprintError: The root is not Task01_BrainTumour, or its description is damaged or names other modalities.
        """
        root = self.root
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
            cases.append(_case(case_id, path, channels, labels.get(case_id)))
        return Cohort("msd", tuple(cases), "world", dict(sorted(excluded.items())))

    def case(self, path: Path, modalities: Sequence[str] = ()) -> Case:
        """The case of one 4-D file, from ``imagesTr`` or ``imagesTs`` of such a task, or from anywhere else.

        The order of its channels is that of the task it lies in, else that of the published one: FLAIR, T1w, t1gd, T2w.

        Raises:
            CaseError: The file is no sound NIfTI image.
            NeuroprintError: There is no such file, it does not hold the channels, or its name cannot be a case's.
        """
        if not (path.is_file() and path.name.endswith(NIFTI)):
            raise NeuroprintError(f"{path} is no NIfTI file;\nexpected a 4-D NIfTI file as those of imagesTr")
        case_id = _case_id(path.name)
        if problem := unsafe_id(case_id):
            raise NeuroprintError(f"{path}: {problem}; rename the file")
        task = path.absolute().parent.parent  # the root is its own parent
        described = (task / "dataset.json").is_file()
        label = task / "labelsTr" / path.name
        channels = _channels(task, _description(task)) if described else list(_PUBLISHED)
        with open_nifti(case_id, path) as file:
            if file.frames != len(channels):
                raise NeuroprintError(
                    f"{path} holds {file.frames} image(s), expected {len(channels)}: {', '.join(channels)}"
                )
        return _case(case_id, path, channels, label if described and label.is_file() else None)


def _case(case_id: str, path: Path, channels: Sequence[str], label: Path | None) -> Case:
    images = {name: ImageFile(path, channel) for channel, name in enumerate(channels)}
    return Case(case_id, case_id, images, ImageFile(label) if label else None, "msd")


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
    return [p for p in folder.iterdir() if p.name.endswith(NIFTI) and not p.name.startswith(".")]


def _case_id(file_name: str) -> str:
    return file_name.removesuffix(".gz").removesuffix(".nii")
