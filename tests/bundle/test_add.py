"""Cases are added to a bundle all or none; the old bundle stays valid until the new one is whole."""

import os
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
from filelock import FileLock

from neuroprint.bundle import add as adding
from neuroprint.bundle.add import add_cases
from neuroprint.bundle.bundle import Bundle
from neuroprint.cli.commands import main
from neuroprint.errors import NeuroprintError


@pytest.fixture
def folder(copy_of_bundle):
    return copy_of_bundle()


@pytest.fixture
def newcomer(small_cohort, tmp_path):
    """The small case that is not in the gallery, under an id that sorts before all others."""
    case = Path(copytree(small_cohort / "Small_00009", tmp_path / "new" / "A_first"))
    for file in case.iterdir():
        file.rename(case / file.name.replace("Small_00009", "A_first"))
    return case


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_added_case_is_found_by_its_own_scan_and_the_others_stay(folder, newcomer, small_cohort):
    before = Bundle.open(folder)
    other = before.query(small_cohort / "Small_00004")
    pictures = before.pictures("Small_00004")
    place = before.query(newcomer).map_xy
    assert [case.case for case in add_cases(folder, [newcomer])] == ["A_first"]

    after = Bundle.open(folder)
    assert list(after.cases["case"]) == ["A_first", *before.cases["case"]]
    np.testing.assert_array_equal(after.embeddings[1:], before.embeddings)
    np.testing.assert_array_equal(after.projected[1:], before.projected)
    np.testing.assert_allclose(after.map_xy[0], place, rtol=1e-6)
    assert list(after.cases["meta:grade"].iloc[1:]) == list(before.cases["meta:grade"])
    found = after.query(newcomer)
    assert found.matches[0].case == "A_first" == found.known_as
    assert found.matches[0].similarity == pytest.approx(1, abs=1e-6)
    assert found.matches[0].distance_mm == pytest.approx(0)
    for old, new in zip(pictures, after.pictures("Small_00004"), strict=True):
        np.testing.assert_array_equal(old["axial"], new["axial"])
    again = after.query(small_cohort / "Small_00004", 10)
    kept = [match.case for match in again.matches if match.case != "A_first"]
    assert kept[:5] == [match.case for match in other.matches]


def test_the_card_and_the_scores_say_what_was_added(folder, newcomer):
    scores = dict(Bundle.open(folder).scores)
    add_cases(folder, [newcomer])
    after = Bundle.open(folder)
    assert after.scores["added"] == ["A_first"] and after.scores["sweep"] == scores["sweep"]
    assert "A_first" in (folder / "card.md").read_text() and "gallery before" in (folder / "card.md").read_text()


def test_a_new_cases_neighbors_are_those_that_it_finds_and_the_others_keep_theirs(folder, newcomer):
    before = Bundle.open(folder)
    found = before.query(newcomer, 9)
    add_cases(folder, [newcomer])
    lists = Bundle.open(folder).neighborhoods
    assert list(lists.rows[0]) == [*(match.row + 1 for match in found.matches), -1]
    similarities = [match.similarity for match in found.matches]
    np.testing.assert_allclose(lists.similarities[0, :9], similarities, atol=1e-6)
    old = before.neighborhoods
    np.testing.assert_array_equal(lists.rows[1:, :9], np.where(old.rows < 0, -1, old.rows + 1))
    np.testing.assert_array_equal(lists.similarities[1:, :9], old.similarities)


def test_whose_cases_they_are_can_be_said(folder, newcomer, small_cohort):
    with pytest.raises(SystemExit) as stopped:
        main(["add", str(folder), str(newcomer), "--patient", "Small_00004"])
    assert stopped.value.code == 0
    after = Bundle.open(folder)
    assert list(after.cases["patient"])[:2] == ["Small_00004", "Small_00000"]
    # The projection was fitted to this patient: what it finds for him is no measure of what it finds for others.
    assert (after.neighborhoods.rows[0] == -1).all()
    assert after.query(small_cohort / "Small_00004", 10, "side").group.neighbors == 8


def test_an_id_or_an_image_that_is_there_is_refused_and_nothing_changes(folder, newcomer, small_cohort, tmp_path):
    before = content(folder)
    with pytest.raises(NeuroprintError, match=r"Small_00002.*id already"):
        add_cases(folder, [newcomer, small_cohort / "Small_00002"])
    disguised = Path(copytree(small_cohort / "Small_00002", tmp_path / "Somebody_else"))
    for modality in ("flair", "t1ce", "t2"):  # one image in common is enough
        (disguised / f"Small_00002_{modality}.nii.gz").write_bytes(
            (small_cohort / "Small_00009" / f"Small_00009_{modality}.nii.gz").read_bytes()
        )
    with pytest.raises(NeuroprintError, match=r"Somebody_else.*same.*Small_00002"):
        add_cases(folder, [disguised])
    twin = Path(copytree(newcomer, tmp_path / "Twin"))
    with pytest.raises(NeuroprintError, match=r"Twin.*same.*A_first"):
        add_cases(folder, [newcomer, twin])
    with pytest.raises(NeuroprintError, match="more than once"):
        add_cases(folder, [newcomer, newcomer])
    assert content(folder) == before


def test_a_case_that_cannot_be_used_adds_none(folder, newcomer, small_cohort, tmp_path):
    before = content(folder)
    broken = Path(copytree(small_cohort / "Small_00009", tmp_path / "Small_00009"))
    (broken / "Small_00009_t1.nii.gz").write_bytes(b"")
    with pytest.raises(NeuroprintError, match="Small_00009"):
        add_cases(folder, [newcomer, broken])
    assert content(folder) == before


def test_one_at_a_time(folder, newcomer):
    with (
        FileLock(folder.with_name(f".{folder.name}.lock")),
        pytest.raises(NeuroprintError, match="another neuroprint add"),
    ):
        add_cases(folder, [newcomer])
    assert len(add_cases(folder, [newcomer])) == 1


def test_a_failure_while_writing_leaves_the_old_bundle(folder, newcomer, monkeypatch):
    before = content(folder)

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(adding, "write_gallery", fail)
    with pytest.raises(NeuroprintError, match="No space left"):
        add_cases(folder, [newcomer])
    assert content(folder) == before


KILLED = """
import os, signal, sys
from pathlib import Path
from neuroprint.bundle import add as adding, format
inner = getattr(format, sys.argv[3])
def killed(*arguments):
    inner(*arguments) if sys.argv[4] == "after" else None
    os.kill(os.getpid(), signal.SIGKILL)
setattr(format, sys.argv[3], killed)
adding.add_cases(Path(sys.argv[1]), [Path(sys.argv[2])])
"""


@pytest.mark.parametrize(("where", "when", "cases"), [("_swap", "before", 9), ("_swap", "after", 10)])
def test_a_bundle_is_whole_whenever_its_writer_is_killed(warm, tmp_path, folder, newcomer, where, when, cases):
    (tmp_path / "killed.py").write_text(KILLED)
    command = (str(tmp_path / "killed.py"), str(folder), str(newcomer), where, when)
    killed = warm.run(tmp_path, os.environ, *command)
    assert killed.returncode == -9, killed.stderr
    assert len(Bundle.open(folder).cases) == cases
    if cases == 9:
        (left,) = [path for path in folder.parent.glob(f".{folder.name}.*") if path.is_dir()]
        os.utime(left, (0, 0))
        assert len(add_cases(folder, [newcomer])) == 1  # the killed writer's lock is gone with it
    assert not [path for path in folder.parent.glob(f".{folder.name}.*") if path.is_dir() and when == "before"]


def test_a_bundle_that_is_open_goes_on_answering_from_what_it_opened(folder, newcomer, small_cohort):
    bundle = Bundle.open(folder)
    bundle.pictures("Small_00000")
    before = bundle.query(small_cohort / "Small_00009")
    add_cases(folder, [newcomer])
    after = bundle.query(small_cohort / "Small_00009")
    assert after.matches == before.matches
    assert len(bundle.cases) == 9 and bundle.pictures("Small_00008")[0]


def test_the_command_says_what_was_added(folder, newcomer, capsys):
    for code, said in ((0, "added A_first"), (1, "A_first: the bundle has a case of this id already")):
        with pytest.raises(SystemExit) as stopped:
            main(["add", str(folder), str(newcomer)])
        printed = capsys.readouterr()
        assert stopped.value.code == code
        assert said in printed.out + printed.err
