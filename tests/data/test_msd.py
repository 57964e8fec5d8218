"""The Decathlon's brain tumor task: one 4-D file a case, channels as its description orders them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from neuroprint.data.case import ImageFile
from neuroprint.data.formats.msd import MSDFormat
from neuroprint.data.volume import read_volume
from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CHANNELS = {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"}


@pytest.fixture
def task(tmp_path: Path, write_image: Callable[..., Path], brain: Callable[..., np.ndarray]) -> Callable[..., Path]:
    """Write a task of two cases; keywords replace what dataset.json says."""

    def make(**changes: Any) -> Path:
        root = tmp_path / "Task01_BrainTumour"
        for number in (1, 2):
            four = np.stack([brain(10 * number + channel) for channel in range(4)], axis=-1)
            write_image(root / "imagesTr" / f"BRATS_{number:03}.nii.gz", four)
            label = np.zeros(four.shape[:3], np.uint8)
            label[4, 5, 5:8] = 1, 2, 3
            write_image(root / "labelsTr" / f"BRATS_{number:03}.nii.gz", label)
        (root / "imagesTr" / "._BRATS_001.nii.gz").touch()
        (root / "imagesTs").mkdir()
        (root / "imagesTs" / "BRATS_900.nii.gz").touch()
        training = [{"image": f"./imagesTr/BRATS_{n:03}.nii.gz", "label": "x"} for n in (1, 2)]
        (root / "dataset.json").write_text(json.dumps({"modality": CHANNELS, "training": training} | changes))
        return root

    return make


def test_training_cases_are_found_with_their_channels(task: Callable[..., Path]) -> None:
    root = task()
    cohort = MSDFormat(root).cohort()
    assert (cohort.name, cohort.frame, dict(cohort.excluded)) == ("msd", "world", {})
    assert [case.id for case in cohort.cases] == ["BRATS_001", "BRATS_002"]
    case = cohort.cases[0]
    path = root / "imagesTr" / "BRATS_001.nii.gz"
    order = ("flair", "t1", "t1ce", "t2")
    assert case.images == {name: ImageFile(path, channel) for channel, name in enumerate(order)}
    assert (case.patient, case.label_convention) == ("BRATS_001", "msd")


def test_the_voxels_follow_the_order_of_the_description(
    task: Callable[..., Path], brain: Callable[..., np.ndarray]
) -> None:
    root = task()
    order = {"0": "T2w", "1": "T1w", "2": "T1Gd", "3": "FLAIR"}
    (root / "dataset.json").write_text(json.dumps({"channel_names": order}))
    volume = read_volume(MSDFormat(root).cohort().cases[0], ("flair", "t1ce", "t2"))
    assert np.array_equal(volume.images, np.stack([brain(13), brain(12), brain(10)]))
    assert volume.label is not None
    assert volume.label[4, 5, 5:8].tolist() == [1, 2, 3]


def test_a_listed_image_that_is_not_there_is_excluded(task: Callable[..., Path]) -> None:
    root = task()
    (root / "imagesTr" / "BRATS_002.nii.gz").unlink()
    cohort = MSDFormat(root).cohort()
    assert [case.id for case in cohort.cases] == ["BRATS_001"]
    assert "BRATS_002.nii.gz is listed in dataset.json but not there; unpack" in cohort.excluded["BRATS_002"]


def test_an_image_without_a_label_is_a_case(task: Callable[..., Path]) -> None:
    root = task()
    (root / "labelsTr" / "BRATS_002.nii.gz").unlink()
    assert [case.label is None for case in MSDFormat(root).cohort().cases] == [False, True]


@pytest.mark.parametrize(
    "channels",
    [
        {"0": "T2", "1": "ADC"},
        {"0": "FLAIR", "1": "T1w", "2": "t1gd", "4": "T2w"},
        {"0": "FLAIR", "1": "FLAIR", "2": "t1gd", "3": "T2w"},
        ["FLAIR"],
        {},
    ],
)
def test_other_channels_are_refused(task: Callable[..., Path], channels: Any) -> None:
    with pytest.raises(NeuroprintError, match=r'(?s)dataset.json.*expected "modality".*correct'):
        MSDFormat(task(modality=channels)).cohort()


def test_a_root_that_is_not_the_task_is_said(task: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(NeuroprintError, match=r"(?s)there is no .*dataset.json.*pass the folder that holds it"):
        MSDFormat(tmp_path / "nowhere").cohort()
    root = task()
    with pytest.raises(NeuroprintError, match=r"pass the folder .*Task01_BrainTumour"):
        MSDFormat(tmp_path).cohort()
    for path in (root / "imagesTr").iterdir():
        path.unlink()
    with pytest.raises(NeuroprintError, match=r"(?s)imagesTr holds no image.*unpack the archive again"):
        MSDFormat(root).cohort()
    (root / "dataset.json").write_text("{")
    with pytest.raises(NeuroprintError, match=r"(?s)dataset.json cannot be read.*unpack the archive again"):
        MSDFormat(root).cohort()
    (root / "dataset.json").write_text("[]")
    with pytest.raises(NeuroprintError, match="holds no JSON object"):
        MSDFormat(root).cohort()
