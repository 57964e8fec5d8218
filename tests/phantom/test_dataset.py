"""``dataset=phantom``: each setting has a cohort of its own, written once and read as a BraTS cohort is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from neuroprint.data.formats.brats import BraTSFormat
from neuroprint.errors import NeuroprintError
from neuroprint.phantom.dataset import PhantomFormat
from neuroprint.phantom.seeds import FIRST_TRAINING_SEED

SMALL = {"cases": 1, "spacing_mm": 8.0}


def test_making_a_format_touches_no_file(tmp_path: Path) -> None:
    assert not PhantomFormat(tmp_path / "root", **SMALL).folder.exists()
    assert not (tmp_path / "root").exists()


def test_every_setting_has_a_folder_of_its_own() -> None:
    changes = [{}, {"cases": 2}, {"spacing_mm": 7.5}, {"seed": 1}, {"pose_jitter": True}]
    folders = [PhantomFormat("root", **{**SMALL, **change}).folder for change in changes]
    assert len(set(folders)) == len(changes)
    assert {folder.parent for folder in folders} == {Path("root")}
    assert PhantomFormat("root").folder == PhantomFormat("root", 80, 2.0, 0, False).folder


def test_a_folder_in_the_home_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/jane")
    assert PhantomFormat("~/cache").folder.parent == Path("/home/jane/cache")


def test_a_cohort_is_written_once_and_is_a_brats_cohort(tmp_path: Path) -> None:
    reader = PhantomFormat(tmp_path, **SMALL)
    cohort = reader.cohort()
    files = [image.path for case in cohort.cases for image in case.files().values()]
    before = [path.stat().st_mtime_ns for path in files]
    again = PhantomFormat(tmp_path, **SMALL).cohort()
    assert [path.stat().st_mtime_ns for path in files] == before
    assert cohort.cases == again.cases == BraTSFormat(reader.folder).cohort().cases
    assert (cohort.name, cohort.frame, len(cohort)) == ("phantom", "world", 1)
    assert cohort.cases[0].label is not None


def test_turned_heads_are_compared_in_their_own_frame(tmp_path: Path) -> None:
    assert PhantomFormat(tmp_path, **SMALL, pose_jitter=True).cohort().frame == "brain"


def test_a_bar_is_shown_only_where_there_is_something_to_write(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    PhantomFormat(tmp_path, **SMALL).cohort()
    assert "phantoms: 100%" in capfd.readouterr().err
    PhantomFormat(tmp_path, **SMALL).cohort()
    assert capfd.readouterr().err == ""


def test_seeds_for_training_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NeuroprintError, match="kept for training"):
        PhantomFormat(tmp_path, **SMALL, seed=FIRST_TRAINING_SEED).cohort()
    assert not list(tmp_path.iterdir())


def test_a_plain_script_may_write_a_cohort_side_by_side(tmp_path):
    """Without a guard against being run again by the processes that it starts."""
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "from neuroprint.phantom.cohort import write_cohort\n"
        "print('once')\n"
        "write_cohort(Path('phantoms'), 2, 8.0, workers=2)\n"
        "print(__file__)\n"
    )
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.split() == ["once", str(script)]
