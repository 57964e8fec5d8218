"""A cohort is loaded by the name of its format or by what conf/ says of it, and every format reads a single case too."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from neuroprint.catalog.gate import Gate
from neuroprint.catalog.menu import Catalog
from neuroprint.data.case import ImageFile
from neuroprint.data.cohort import Cohort
from neuroprint.data.formats.brats import BraTSFormat
from neuroprint.data.formats.manifest import ManifestFormat
from neuroprint.data.formats.msd import MSDFormat
from neuroprint.data.load import load_cohort, read_case, recognize, store_folder
from neuroprint.data.nifti import open_nifti
from neuroprint.data.volume import read_volume
from neuroprint.errors import CaseError, NeuroprintError
from neuroprint.phantom.dataset import PhantomFormat

MODALITIES = ("flair", "t1ce", "t1", "t2")
CHANNELS = {"0": "T2w", "1": "T1w", "2": "t1gd", "3": "FLAIR"}


@pytest.fixture
def brats(tmp_path: Path, write_case: Callable[..., Path]) -> Path:
    root = tmp_path / "brats"
    for seed, name in enumerate("ab"):
        write_case(root / name, seed=seed)
    return root


@pytest.fixture
def msd(
    tmp_path: Path, write_image: Callable[..., Path], brain: Callable[..., np.ndarray], tumor: Callable[..., np.ndarray]
) -> Path:
    """A task whose channels are not in the published order."""
    root = tmp_path / "Task01_BrainTumour"
    for number, part in ((1, "imagesTr"), (2, "imagesTr"), (3, "imagesTs")):
        four = np.stack([brain(10 * number + channel) for channel in range(4)], axis=-1)
        write_image(root / part / f"BRATS_{number:03}.nii.gz", four)
        if part == "imagesTr":
            write_image(root / "labelsTr" / f"BRATS_{number:03}.nii.gz", tumor(1, 2, 3))
    (root / "dataset.json").write_text(json.dumps({"modality": CHANNELS}))
    return root


@pytest.fixture
def manifest(tmp_path: Path, brats: Path) -> Path:
    path = tmp_path / "cases.csv"
    rows = [f"{name},p{name},brats/{name}/{name}_t1.nii.gz,brats/{name}/{name}_seg.nii.gz,4" for name in "ab"]
    path.write_text("\n".join(["id,patient,t1,label,grade", *rows]))
    return path


# --- loading ---------------------------------------------------------------------------------------------------------


def test_a_cohort_is_loaded_by_name(brats: Path, msd: Path, manifest: Path, tmp_path: Path) -> None:
    for name, root, reader in (
        ("brats", brats, BraTSFormat(brats)),
        ("msd", msd, MSDFormat(msd)),
        ("manifest", manifest, ManifestFormat(manifest)),
    ):
        loaded, found = load_cohort(name, root, store=tmp_path / "store"), reader.cohort()
        assert (loaded.name, loaded.cases, loaded.frame) == (name, found.cases, found.frame)
        assert loaded.format == Catalog().node("dataset", name, root=str(root))["reader"]
        assert (loaded.strict, loaded.duplicates) == (False, "refuse")
        assert loaded.digest_cache == tmp_path / "store" / "digests.sqlite"
        assert loaded.digest == found.digest


def test_a_cohort_is_loaded_by_the_content_of_an_entry(brats: Path, tmp_path: Path) -> None:
    node = Catalog().node("dataset", "brats", root=str(brats), strict=True, duplicates="allow")
    by_name = load_cohort("brats", brats, store=tmp_path, strict=True, duplicates="allow")
    assert (by_name.strict, by_name.duplicates) == (True, "allow")
    composed = OmegaConf.create({"dataset": {**node, "reader": {**node["reader"], "root": "${dataset.root}"}}})
    for content in (node, composed.dataset):
        assert vars(load_cohort(content, store=tmp_path)) == vars(by_name)


def test_an_entry_of_ones_own_needs_its_reader_only(brats: Path) -> None:
    cohort = load_cohort({"reader": {"_target_": "neuroprint.data.formats.brats.BraTSFormat", "root": str(brats)}})
    assert (cohort.name, len(cohort), cohort.strict, cohort.duplicates) == ("brats", 2, False, "refuse")
    with pytest.raises(NeuroprintError, match=r"dataset: its entry has no reader: .* \(found .*root"):
        load_cohort({"root": str(brats)})


def test_settings_are_given_with_a_name_and_not_with_the_content_of_an_entry(brats: Path, manifest: Path) -> None:
    assert load_cohort("manifest", manifest, labels="brats").cases[0].label_convention == "brats"
    node = Catalog().node("dataset", "brats", root=str(brats))
    with pytest.raises(NeuroprintError, match="dataset: root, strict can be given with the name of an entry only"):
        load_cohort(node, brats, strict=True)


@pytest.mark.parametrize("kind", [str, Path])
def test_a_folder_in_the_home_is_found(
    brats: Path, msd: Path, manifest: Path, monkeypatch: pytest.MonkeyPatch, kind: type
) -> None:
    monkeypatch.setenv("HOME", str(brats.parent))
    for name, root in (("brats", brats), ("msd", msd), ("manifest", manifest)):
        loaded = load_cohort(name, kind(f"~/{root.name}"), store="~/store")
        assert loaded.cases == load_cohort(name, root).cases
        assert loaded.digest_cache == brats.parent / "store" / "digests.sqlite"
        assert recognize(Path("~") / root.name).cases == loaded.cases


def test_phantoms_are_written_where_they_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUROPRINT_CACHE", str(tmp_path / "cache"))
    cohort = load_cohort("phantom", cases=1, spacing_mm=8.0)
    assert repr(cohort) == "Cohort(phantom: 1 cases of 1 patients)"
    assert cohort.cases[0].images["t1"].path.is_relative_to(tmp_path / "cache" / "phantom")
    assert cohort.digest_cache == tmp_path / "cache" / "store" / "digests.sqlite"
    assert load_cohort("phantom", tmp_path / "other", cases=1, spacing_mm=8.0).digest == cohort.digest


@pytest.mark.parametrize(
    ("dataset", "settings", "said"),
    [
        (
            "brast",
            {"root": "x"},
            r"dataset=brast: there is no such choice. Did you mean brats\? There is: bids, brats, br",
        ),
        ("brats", {}, "dataset=brats: root is missing: give it as root=VALUE"),
        (
            "brats",
            {"root": "x", "label": "brats"},
            "dataset=brats has no label. .*labels",
        ),
        ("brats", {"root": "nowhere at all"}, "there is no folder nowhere at all"),
        ("phantom", {"cases": 0}, "found cases=0"),
        ("manifest", {"root": "x.csv", "duplicates": "alow"}, "dataset.duplicates=alow: must be one of refuse, allow"),
    ],
)
def test_what_cannot_be_loaded_is_said(dataset: str, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(NeuroprintError, match=said):
        load_cohort(dataset, **settings)


def test_a_case_that_cannot_be_used_is_left_out_and_named_or_stops(
    brats: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (brats / "a" / "a_t1.nii.gz").unlink()
    with caplog.at_level(logging.WARNING):
        cohort = load_cohort("brats", brats)
    assert [case.id for case in cohort.cases] == ["b"]
    assert list(cohort.excluded) == ["a"]
    (said,) = (record.getMessage() for record in caplog.records)
    assert said.startswith("left out: case a: a_t1.nii.gz missing")
    with pytest.raises(CaseError, match=r"case a: a_t1.nii.gz missing"):
        load_cohort("brats", brats, strict=True)


def test_a_dataset_of_which_nothing_can_be_used_says_why(manifest: Path) -> None:
    shutil.rmtree(manifest.parent / "brats")
    with pytest.raises(
        NeuroprintError, match=r"dataset=manifest: none of its cases can be used \(a: the t1 .*; b: the"
    ):
        load_cohort("manifest", manifest)


def test_a_format_that_comes_from_elsewhere_passes_the_gate(brats: Path) -> None:
    node = Catalog().node("dataset", "brats", root=str(brats))
    assert len(load_cohort(node, gate=Gate())) == 2
    with pytest.raises(NeuroprintError, match=r"dataset: os\.system is not one of neuroprint's own"):
        load_cohort({**node, "reader": {"_target_": "os.system", "command": "true"}}, gate=Gate())


def test_the_features_lie_where_it_is_said_else_in_the_cache_else_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/jane")
    for value, folder in (
        ("/fast", "/fast/store"),
        ("~/fast", "/home/jane/fast/store"),
        ("", ".neuroprint/store"),
        (None, ".neuroprint/store"),
    ):
        if value is None:
            monkeypatch.delenv("NEUROPRINT_CACHE")
        else:
            monkeypatch.setenv("NEUROPRINT_CACHE", value)
        assert store_folder() == Path(folder)
        assert store_folder("given") == Path("given")
        assert store_folder(Path("~/given")) == Path("/home/jane/given")


# --- recognizing -----------------------------------------------------------------------------------------------------


def test_a_format_is_told_by_what_lies_there(brats: Path, msd: Path, manifest: Path) -> None:
    for path, name in ((brats, "brats"), (msd, "msd"), (manifest, "manifest")):
        cohort = recognize(path)
        assert (cohort.name, cohort.cases) == (name, load_cohort(name, path).cases)
    assert recognize(manifest.rename(manifest.with_suffix(".CSV"))).name == "manifest"


def test_each_format_recognizes_its_own_and_brats_any_folder(
    brats: Path, msd: Path, manifest: Path, tmp_path: Path
) -> None:
    formats = (BraTSFormat, MSDFormat, ManifestFormat, PhantomFormat)
    expected = {
        brats: (True, False, False, False),
        msd: (True, True, False, False),
        manifest: (False, False, True, False),
        tmp_path / "nowhere": (False, False, False, False),
    }
    assert {path: tuple(kind.recognizes(path) for kind in formats) for path in expected} == expected


def test_a_folder_that_is_no_dataset_is_read_as_brats_and_said(tmp_path: Path) -> None:
    with pytest.raises(NeuroprintError, match=r"no case found in .*;\nexpected one folder per case"):
        recognize(tmp_path)


def test_a_path_that_no_format_recognizes_is_said(tmp_path: Path) -> None:
    (tmp_path / "scans.zip").touch()
    for name in ("scans.zip", "nowhere"):
        with pytest.raises(NeuroprintError, match=f"{name}: there is no such folder or table; expected one of .*brats"):
            recognize(tmp_path / name)


def test_a_format_of_ones_own_is_found_by_its_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "conf" / "dataset").mkdir(parents=True)
    (tmp_path / "conf" / "dataset" / "zoo.yaml").write_text(
        "name: zoo\nroot: ???\nstrict: false\nduplicates: refuse\n"
        "reader:\n  _target_: my_format.Zoo\n  root: ${dataset.root}\n"
    )
    (tmp_path / "conf" / "dataset" / "needy.yaml").write_text("name: needy\nroot: ???\nkey: ???\nreader: {}\n")
    (tmp_path / "my_format.py").write_text(
        "from pathlib import Path\n"
        "from neuroprint.data.case import Case, ImageFile\n"
        "from neuroprint.data.cohort import Cohort\n"
        "class Zoo:\n"
        "    def __init__(self, root):\n        self.root = Path(root)\n"
        "    @staticmethod\n    def recognizes(path):\n        return (path / 'zoo.txt').is_file()\n"
        "    def cohort(self):\n"
        "        return Cohort('my zoo', tuple(Case(line, line, {'t1': ImageFile(self.root / line)})"
        " for line in (self.root / 'zoo.txt').read_text().split()))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "animals").mkdir()
    (tmp_path / "animals" / "zoo.txt").write_text("ape bear")
    catalog = Catalog([tmp_path / "conf"])
    loaded, found = load_cohort("zoo", tmp_path / "animals", catalog=catalog), recognize(tmp_path / "animals", catalog)
    assert [case.id for case in loaded.cases] == [case.id for case in found.cases] == ["ape", "bear"]
    assert (loaded.name, found.name) == ("zoo", "my zoo")
    with pytest.raises(NeuroprintError, match="no case found"):
        recognize(tmp_path / "animals")


# --- single cases ----------------------------------------------------------------------------------------------------


def test_a_case_that_is_read_alone_is_the_one_of_its_cohort(
    brats: Path, msd: Path, manifest: Path, tmp_path: Path
) -> None:
    phantoms = PhantomFormat(tmp_path / "phantoms", cases=1, spacing_mm=8.0)
    one = tmp_path / "one.csv"
    one.write_text("\n".join(manifest.read_text().splitlines()[:2]))
    for reader, path, cohort in (
        (BraTSFormat(brats), brats / "a", None),
        (MSDFormat(msd), msd / "imagesTr" / "BRATS_001.nii.gz", None),
        (ManifestFormat(one, "brats"), one, None),
        (ManifestFormat("the gallery's.csv", "brats"), one, ManifestFormat(manifest, "brats").cohort()),
        (phantoms, phantoms.folder / "Phantom_00000", None),
    ):
        expected = (cohort or reader.cohort()).cases[0]
        assert reader.case(path, tuple(expected.images)) == expected


def test_a_case_need_not_lie_in_the_dataset(brats: Path, msd: Path, tmp_path: Path) -> None:
    elsewhere = shutil.copytree(brats / "a", tmp_path / "new" / "a")
    for reader in (BraTSFormat(brats), BraTSFormat("nowhere"), PhantomFormat("nowhere")):
        case = reader.case(elsewhere, MODALITIES)
        assert (case.id, case.images["t1"].path) == ("a", elsewhere / "a_t1.nii.gz")
    alone = shutil.copy(msd / "imagesTr" / "BRATS_001.nii.gz", tmp_path / "new" / "mine.nii.gz")
    case = MSDFormat(msd).case(alone, MODALITIES)
    published = ("flair", "t1", "t1ce", "t2")
    assert case.images == {name: ImageFile(alone, channel) for channel, name in enumerate(published)}
    assert (case.id, case.label, case.label_convention) == ("mine", None, "msd")


def test_a_test_case_of_the_decathlon_has_its_tasks_channels_and_no_label(
    msd: Path, brain: Callable[..., np.ndarray]
) -> None:
    case = MSDFormat(msd.parent).case(msd / "imagesTs" / "BRATS_003.nii.gz", MODALITIES)
    assert case.label is None
    assert np.array_equal(read_volume(case, ("flair", "t2")).images, np.stack([brain(33), brain(30)]))


def test_a_case_may_lie_at_the_top_of_the_disk(monkeypatch: pytest.MonkeyPatch, msd: Path) -> None:
    there = msd / "imagesTr" / "BRATS_001.nii.gz"
    monkeypatch.setattr(Path, "is_file", lambda path: str(path) == "/scan.nii.gz")
    monkeypatch.setattr("neuroprint.data.formats.msd.open_nifti", lambda case, path: open_nifti(case, there))
    assert MSDFormat("nowhere").case(Path("/scan.nii.gz")).id == "scan"


def test_a_file_of_one_image_is_no_case_of_the_decathlon(brats: Path) -> None:
    with pytest.raises(NeuroprintError, match=r"a_t1.nii.gz holds 1 image\(s\), expected 4: flair, t1, t1ce, t2"):
        MSDFormat("nowhere").case(brats / "a" / "a_t1.nii.gz")


def test_the_one_file_in_a_folder_is_the_case_where_the_gallerys_format_says_so(msd: Path, tmp_path: Path) -> None:
    alone = shutil.copy(msd / "imagesTr" / "BRATS_001.nii.gz", tmp_path / "upload.nii.gz")
    (tmp_path / "case").mkdir()
    there = Path(shutil.move(alone, tmp_path / "case" / "mine.nii.gz"))
    case = read_case(tmp_path / "case", MODALITIES, MSDFormat(msd))
    assert (case.id, case.images["flair"].path) == ("mine", there)
    with pytest.raises(NeuroprintError, match="holds no case"):
        read_case(tmp_path / "case", MODALITIES)


def test_a_case_that_cannot_be_read_is_said(msd: Path, manifest: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.nii.gz", msd):
        with pytest.raises(NeuroprintError, match=r"is no NIfTI file;\nexpected a 4-D NIfTI file"):
            MSDFormat(msd).case(path)
    unsafe = shutil.copy(msd / "imagesTr" / "BRATS_001.nii.gz", tmp_path / "a b.nii.gz")
    with pytest.raises(NeuroprintError, match=r"the id 'a b' cannot name a file.*rename the file"):
        MSDFormat(msd).case(unsafe)
    with pytest.raises(NeuroprintError, match=r"cases.csv has 2 rows, expected one: the case to be read"):
        ManifestFormat(manifest).case(manifest)
    shutil.rmtree(tmp_path / "brats" / "a")
    with pytest.raises(CaseError, match=r"case a: the t1 file .* is not there"):
        ManifestFormat(manifest).case(manifest)
    with pytest.raises(NeuroprintError, match=r"nowhere.csv cannot be read"):
        ManifestFormat(manifest).case(tmp_path / "nowhere.csv")


def test_a_part_of_a_loaded_cohort_keeps_how_it_was_loaded(brats: Path, tmp_path: Path) -> None:
    cohort = load_cohort("brats", brats, store=tmp_path, strict=True)
    part = cohort.where(lambda case: case.id == "b")
    assert isinstance(part, Cohort)
    assert vars(replace(part, cases=cohort.cases)) == {**vars(cohort)}
