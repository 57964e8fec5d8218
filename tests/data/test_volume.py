"""Voxels are read once and as the file says; what cannot be used is named in one line."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from neuroprint.data.case import Case, ImageFile
from neuroprint.data.digests import case_digests
from neuroprint.data.formats.brats import BraTSFormat
from neuroprint.data.volume import read_volume
from neuroprint.errors import CaseError, NeuroprintError

CaseOf = Callable[..., Case]
Brain = Callable[..., np.ndarray]


@pytest.fixture
def case(tmp_path: Path, write_case: Callable[..., Path]) -> Case:
    return BraTSFormat(tmp_path).case(write_case(tmp_path / "case1"))


def _refused(case: Case, *said: str, modalities: tuple[str, ...] = ("flair", "t1")) -> None:
    with pytest.raises(CaseError) as caught:
        read_volume(case, modalities)
    assert caught.value.case == case.id
    assert "\n" not in str(caught.value)
    for words in said:
        assert words in caught.value.problem


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii"])
def test_voxels_are_those_nibabel_reads(tmp_path: Path, write_case: Callable[..., Path], suffix: str) -> None:
    case = BraTSFormat(tmp_path).case(write_case(tmp_path / "case1", suffix=suffix))
    volume = read_volume(case, ("t2", "flair"))
    assert volume.modalities == ("t2", "flair")
    for channel, modality in zip(volume.images, volume.modalities, strict=True):
        reference = nib.load(case.images[modality].path)
        assert np.array_equal(channel, np.asanyarray(reference.dataobj))
        assert np.array_equal(volume.affine, reference.affine)
    assert case.label is not None
    assert volume.label is not None
    assert volume.label.dtype == np.uint8
    assert np.array_equal(volume.label, np.asanyarray(nib.load(case.label.path).dataobj))


def test_the_label_is_read_only_where_asked_and_there(case: Case) -> None:
    assert read_volume(case, ("t1",), label=False).label is None
    assert read_volume(replace(case, label=None), ("t1",)).label is None


@pytest.mark.parametrize(
    ("on_disk", "read"),
    [
        (["int16", "int16"], "int16"),
        (["uint8", "int16"], "int16"),
        (["int32", "int32"], "int32"),
        (["float32", "float32"], "float32"),
        (["float64", "float64"], "float32"),
        (["int16", "float32"], "float32"),
        (["int32", "float32"], "float32"),
        ([">i2", ">i2"], "int16"),
        ([">f8", "int16"], "float32"),
    ],
)
def test_whole_numbers_keep_their_type_and_all_else_is_float32(
    case_of: CaseOf, brain: Brain, on_disk: list[str], read: str
) -> None:
    arrays = {m: brain(n).clip(0, 200).astype(d) for n, (m, d) in enumerate(zip(("flair", "t1"), on_disk, strict=True))}
    volume = read_volume(case_of(arrays), ("flair", "t1"))
    assert volume.images.dtype == np.dtype(read)
    assert np.array_equal(volume.images, np.stack(list(arrays.values())).astype(read))


def test_a_big_endian_file_is_read(tmp_path: Path, brain: Brain) -> None:
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    path = tmp_path / "big.nii.gz"
    nib.save(nib.Nifti1Image(brain(0), np.eye(4), header), path)
    assert nib.load(path).header.endianness == ">"
    volume = read_volume(Case("c", "c", {"t1": ImageFile(path)}), ("t1",))
    assert volume.images.dtype == np.int16
    assert np.array_equal(volume.images[0], brain(0))


def test_a_nifti2_file_is_read(tmp_path: Path, brain: Brain) -> None:
    path = tmp_path / "two.nii.gz"
    nib.save(nib.Nifti2Image(brain(0), np.eye(4)), path)
    assert np.array_equal(read_volume(Case("c", "c", {"t1": ImageFile(path)}), ("t1",)).images[0], brain(0))


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize(("slope", "inter"), [(0.5, -3.0), (2.0, 0.0), (1.0, 10.0)])
def test_slope_and_intercept_are_honored(
    tmp_path: Path, brain: Brain, slope: float, inter: float, dtype: type[np.generic]
) -> None:
    path = tmp_path / "scaled.nii.gz"
    nib.save(nib.Nifti1Image(brain(0).astype(dtype), np.eye(4)), path)

    def scale(header: nib.Nifti1Header) -> None:
        header["scl_slope"], header["scl_inter"] = slope, inter

    _rewrite_header(path, scale)
    reference = nib.load(path)
    np.testing.assert_allclose(reference.get_fdata(), brain(0) * slope + inter)
    volume = read_volume(Case("c", "c", {"t1": ImageFile(path)}), ("t1",))
    assert volume.images.dtype == np.float32
    np.testing.assert_allclose(volume.images[0], reference.get_fdata(), rtol=1e-6)


def test_header_extensions_are_skipped(tmp_path: Path, brain: Brain) -> None:
    image = nib.Nifti1Image(brain(0), np.eye(4))
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"x" * 2000))
    path = tmp_path / "extended.nii.gz"
    image.to_filename(path)
    assert np.array_equal(read_volume(Case("c", "c", {"t1": ImageFile(path)}), ("t1",)).images[0], brain(0))


def test_a_gzip_of_several_members_is_read(tmp_path: Path, brain: Brain) -> None:
    data = nib.Nifti1Image(brain(0), np.eye(4)).to_bytes()
    path = tmp_path / "members.nii.gz"
    path.write_bytes(gzip.compress(data[:1000]) + gzip.compress(data[1000:]))
    assert np.array_equal(read_volume(Case("c", "c", {"t1": ImageFile(path)}), ("t1",)).images[0], brain(0))


def test_compression_is_told_by_content_not_name(tmp_path: Path, brain: Brain) -> None:
    path = tmp_path / "plain.nii.gz"
    path.write_bytes(nib.Nifti1Image(brain(0), np.eye(4)).to_bytes())
    assert np.array_equal(read_volume(Case("c", "c", {"t1": ImageFile(path)}), ("t1",)).images[0], brain(0))


@pytest.mark.parametrize("extra", [(1,), (1, 1)])
def test_trailing_axes_of_one_are_dropped(case_of: CaseOf, brain: Brain, extra: tuple[int, ...]) -> None:
    volume = read_volume(case_of({"t1": brain(0).reshape(*brain(0).shape, *extra)}), ("t1",))
    assert np.array_equal(volume.images[0], brain(0))


def test_channels_of_one_file_come_from_one_pass(
    tmp_path: Path, write_image: Callable[..., Path], brain: Brain, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_image(tmp_path / "four.nii.gz", np.stack([brain(n) for n in range(4)], axis=-1))
    images = {name: ImageFile(path, channel) for channel, name in enumerate(("flair", "t1", "t1ce", "t2"))}
    opened = []
    original = Path.open
    monkeypatch.setattr(Path, "open", lambda self, *args: opened.append(self) or original(self, *args))
    volume = read_volume(Case("c", "c", images), ("t2", "flair", "t1"))
    assert opened == [path]
    assert np.array_equal(volume.images, np.stack([brain(3), brain(0), brain(1)]))


def test_a_missing_file_is_named(case: Case) -> None:
    case.images["t1"].path.unlink()
    _refused(case, "case1_t1.nii.gz is not there", "expected a NIfTI file", "copy or download")


def test_a_missing_modality_is_named(case: Case) -> None:
    _refused(case, "no modality 'adc', only flair, t1ce, t1, t2", "add its file", modalities=("adc",))


def test_modalities_must_be_asked_for_once(case: Case) -> None:
    for modalities in ((), ("t1", "t1")):
        with pytest.raises(NeuroprintError, match="modalities must be named, each once"):
            read_volume(case, modalities)


def test_one_file_for_two_modalities_is_refused(case: Case) -> None:
    same = replace(case, images={"flair": case.images["flair"], "t1": case.images["flair"]})
    _refused(same, "case1_flair.nii.gz is given as flair and t1", "name the right files")


@pytest.mark.parametrize("keep", [0.02, 0.5, 0.999])
def test_a_truncated_gzip_is_named(case: Case, keep: float) -> None:
    path = case.images["t1"].path
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    _refused(case, "case1_t1.nii.gz", "cut off", "download it again")


def test_a_truncated_plain_file_is_named(tmp_path: Path, write_case: Callable[..., Path]) -> None:
    case = BraTSFormat(tmp_path).case(write_case(tmp_path / "case1", suffix=".nii"))
    path = case.images["t1"].path
    path.write_bytes(path.read_bytes()[:-1])
    _refused(case, "case1_t1.nii is cut off", "ends before its last voxel", "download it again")


def test_a_flipped_byte_is_noticed(case: Case) -> None:
    path = case.images["t1"].path
    data = bytearray(path.read_bytes())
    data[-6] ^= 0xFF  # in the checksum: every voxel still decodes
    path.write_bytes(bytes(data))
    _refused(case, "case1_t1.nii.gz is damaged", "download it again")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (gzip.compress(b"", mtime=0), "is empty"),
        (b"hello, this is text", "is no NIfTI file"),
        (gzip.compress(b"x" * 5000, mtime=0), "is no NIfTI file"),
        (b"\x1f", "is no NIfTI file"),
        (b"\x1f\x8bnonsense", "is damaged"),
    ],
)
def test_what_is_no_nifti_is_named(case: Case, content: bytes, said: str) -> None:
    case.images["t1"].path.write_bytes(content)
    _refused(case, f"case1_t1.nii.gz {said}")


def test_a_folder_or_a_locked_file_is_named(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    locked, original = case.images["t1"].path, Path.open

    def refuse(path: Path, *args: str) -> object:
        if path == locked:
            raise PermissionError(13, "Permission denied", str(path))
        return original(path, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        _refused(case, "case1_t1.nii.gz may not be read (permission denied)", "read access")
    locked.unlink()
    locked.mkdir()
    _refused(case, "case1_t1.nii.gz is a folder", "expected a NIfTI file")


def test_a_4d_file_where_3d_is_expected_is_named(case_of: CaseOf, brain: Brain) -> None:
    four = np.stack([brain(0), brain(1)], axis=-1)
    _refused(case_of({"flair": four, "t1": four}), "case1_flair.nii.gz is 4-D (2 images", "expected 3-D", "split it")
    case = case_of({"flair": brain(0), "t1": brain(1)}, label=four.clip(0, 1).astype(np.uint8))
    _refused(case, "case1_seg.nii.gz is 4-D")


def test_a_flat_or_5d_image_is_named(case_of: CaseOf, brain: Brain) -> None:
    _refused(case_of({"flair": brain(0)[:, :, 4], "t1": brain(1)}), "case1_flair.nii.gz has the shape 12 x 14,")
    five = np.ones((4, 4, 4, 2, 2), np.int16)
    _refused(case_of({"flair": five, "t1": five}), "has the shape 4 x 4 x 4 x 2 x 2", "expected three axes", "convert")


@pytest.mark.parametrize("channel", [2, -1])
def test_a_channel_out_of_range_is_named(case_of: CaseOf, brain: Brain, channel: int) -> None:
    case = case_of({"flair": np.stack([brain(0), brain(1)], axis=-1)})
    images = {"flair": ImageFile(case.images["flair"].path, channel)}
    _refused(replace(case, images=images), "has 2 channel(s)", f"expected a channel {channel}", modalities=("flair",))


def test_modalities_and_label_must_share_a_grid(
    tmp_path: Path, case: Case, brain: Brain, tumor: Brain, write_image: Callable[..., Path]
) -> None:
    affine = nib.load(case.images["flair"].path).affine
    moved = affine.copy()
    moved[0, 3] += 0.5
    turned = affine.copy()
    turned[0, 1] = 0.02  # under a voxel near the origin, 0.26 mm in the far corner
    t1 = case.images["t1"].path
    write_image(t1, brain(1, (12, 14, 9)), affine)
    _refused(case, "case1_t1.nii.gz has 12 x 14 x 9 voxels", "expected 12 x 14 x 10 as case1_flair", "resample")
    for other in (moved, turned):
        write_image(t1, brain(1), other)
        _refused(case, "case1_t1.nii.gz lies 0.", "off case1_flair.nii.gz", "at most 0.1 mm", "register and resample")
    write_image(t1, brain(1), affine)
    label = tmp_path / "case1" / "case1_seg.nii.gz"
    write_image(label, tumor(1)[:, :, :9], affine)
    _refused(case, "case1_seg.nii.gz has 12 x 14 x 9 voxels", "to one grid")
    write_image(label, tumor(1), moved)
    _refused(case, "case1_seg.nii.gz lies 0.5 mm off")


def test_rounding_of_an_affine_is_no_other_grid(case: Case, brain: Brain, write_image: Callable[..., Path]) -> None:
    affine = nib.load(case.images["flair"].path).affine
    affine[0, 3] += 0.05
    write_image(case.images["t1"].path, brain(1), affine)
    assert read_volume(case, ("flair", "t1")).images.shape == (2, 12, 14, 10)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_numbers_are_counted(case_of: CaseOf, brain: Brain, value: float) -> None:
    bad = brain(1).astype(np.float32)
    bad[3, 3, 3:5] = value
    case = case_of({"flair": brain(0), "t1": bad})
    _refused(case, "case1_t1.nii.gz (t1) has 2 voxels that are NaN or infinite", "replace them")


@pytest.mark.parametrize("value", [0, 7])
def test_a_constant_modality_is_named(case_of: CaseOf, brain: Brain, value: int) -> None:
    case = case_of({"flair": brain(0), "t1": np.full_like(brain(0), value)})
    _refused(case, f"case1_t1.nii.gz (t1) is {value} everywhere", "export the image again")


def test_an_interpolated_label_is_named(case_of: CaseOf, brain: Brain, tumor: Brain) -> None:
    label = tumor(1, 2).astype(np.float32)
    label[4, 4, 4] = 1.5
    case = case_of({"flair": brain(0), "t1": brain(1)}, label=label)
    _refused(case, "case1_seg.nii.gz holds values that are not whole (1.5)", "nearest neighbor")
    for value in (np.nan, np.inf):
        label[4, 4, 4] = value
        case = case_of({"flair": brain(0), "t1": brain(1)}, label=label)
        _refused(case, "case1_seg.nii.gz has 1 voxel(s) that are NaN or infinite", "write the label again")


def test_a_whole_label_in_floats_is_read(case_of: CaseOf, brain: Brain, tumor: Brain) -> None:
    for dtype in (np.float32, np.float64, np.int32):
        volume = read_volume(case_of({"t1": brain(1)}, label=tumor(1, 2, 4).astype(dtype)), ("t1",))
        assert volume.label is not None
        assert volume.label.dtype == np.uint8
        assert np.array_equal(volume.label, tumor(1, 2, 4))


@pytest.mark.parametrize("value", [-1, 300])
def test_a_label_out_of_range_is_named(case_of: CaseOf, brain: Brain, tumor: Brain, value: int) -> None:
    label = tumor(1).astype(np.int16)
    label[5, 5, 5] = value
    case = case_of({"flair": brain(0), "t1": brain(1)}, label=label, convention="any")
    _refused(case, "case1_seg.nii.gz holds values from", "expected label numbers from 0 to 255", "not an image")


def test_label_values_are_checked_against_the_convention(case_of: CaseOf, brain: Brain, tumor: Brain) -> None:
    images = {"flair": brain(0), "t1": brain(1)}
    _refused(case_of(images, label=tumor(1, 7)), "case1_seg.nii.gz holds the values [1, 7]", "[1, 2, 4]")
    _refused(case_of(images, label=tumor(3, 4)), "holds both 3 and 4", "correct the label")
    assert read_volume(case_of(images, label=tumor(1, 2, 3)), ("t1",)).label is not None


def _rewrite_header(path: Path, change: Callable[[nib.Nifti1Header], None]) -> None:
    data = gzip.decompress(path.read_bytes())
    header = nib.Nifti1Header(data[:348])
    change(header)
    path.write_bytes(gzip.compress(header.binaryblock + data[348:]))


@pytest.mark.parametrize("field", ["sform", "pixdim", "nan"])
def test_a_singular_affine_is_named(case: Case, field: str) -> None:
    def change(header: nib.Nifti1Header) -> None:
        if field == "sform":
            header["srow_x"] = 0
        elif field == "nan":
            header["srow_x"][0] = np.nan
        else:
            header["sform_code"] = header["qform_code"] = 0
            header["pixdim"][1:4] = 0

    _rewrite_header(case.images["flair"].path, change)
    _refused(case, "case1_flair.nii.gz has a singular affine", "zero size", "correct the header")


@pytest.mark.parametrize("dims", [(3, 1025, 2, 2), (3, 1000, 1000, 1000), (4, 1024, 1024, 256, 2)])
def test_an_absurd_size_is_refused_by_the_header_alone(case: Case, dims: tuple[int, ...]) -> None:
    def change(header: nib.Nifti1Header) -> None:
        header["dim"][: len(dims)] = dims

    _rewrite_header(case.images["flair"].path, change)
    _refused(case, f"says it has {dims[1]} x {dims[2]} x", "expected at most 1024 along an axis", "resampled")


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("dim", [3, 0, 4, 4, 1, 1, 1, 1], "has the shape 0 x 4 x 4"),
        ("datatype", 128, "holds voxels of type"),
        ("datatype", 9999, "has a damaged header"),
        ("vox_offset", 1e20, "has a damaged header"),
        ("vox_offset", np.nan, "has a damaged header"),
        ("scl_inter", np.inf, "has a damaged header"),
    ],
)
def test_a_header_that_makes_no_sense_is_named(case: Case, field: str, value: object, said: str) -> None:
    def change(header: nib.Nifti1Header) -> None:
        header[field] = value
        if field == "scl_inter":
            header["scl_slope"] = 2

    _rewrite_header(case.images["flair"].path, change)
    _refused(case, f"case1_flair.nii.gz {said}")


def test_a_gzip_that_grows_without_end_is_read_only_as_far_as_its_header_says(case: Case) -> None:
    path = case.images["flair"].path
    expected = np.asanyarray(nib.load(path).dataobj).copy()
    path.write_bytes(path.read_bytes() + gzip.compress(bytes(2**28), 1))
    assert np.array_equal(read_volume(case, ("flair",)).images[0], expected)


def _resave(path: Path, change: Callable[[nib.Nifti1Image], None]) -> None:
    image = nib.load(path)
    image = nib.Nifti1Image(np.asanyarray(image.dataobj).copy(), image.affine)
    change(image)
    image.to_filename(path)


@pytest.mark.parametrize("most", [255, 32767])
def test_a_label_of_real_numbers_under_a_header_of_whole_ones_is_rounded(
    case: Case, tumor: Brain, most: int, tmp_path: Path
) -> None:
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint8 if most == 255 else np.int16)
    path = tmp_path / "scaled.nii.gz"
    nib.Nifti1Image(tumor(1, 2, 4).astype(np.float64), nib.load(case.images["t1"].path).affine, header).to_filename(
        path
    )
    found = nib.load(path)
    found.set_data_dtype(np.uint8)
    nib.save(nib.Nifti1Image(np.asarray(found.dataobj), found.affine, found.header), path)
    assert not set(np.unique(nib.load(path).get_fdata())) <= {0.0, 1.0, 2.0, 4.0}  # 1.00392, 1.99216, 4.00000024
    volume = read_volume(replace(case, label=ImageFile(path)), ("t1",))
    assert np.array_equal(volume.label, tumor(1, 2, 4))


def test_a_label_interpolated_under_a_header_of_whole_numbers_is_named(
    case: Case, tumor: Brain, tmp_path: Path
) -> None:
    blurred = tumor(1, 2, 4).astype(np.float64)
    blurred[4, 4, 4] = 1.5
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint8)
    path = tmp_path / "blurred.nii.gz"
    nib.Nifti1Image(blurred, nib.load(case.images["t1"].path).affine, header).to_filename(path)
    _refused(replace(case, label=ImageFile(path)), "blurred.nii.gz holds values that are not whole", "nearest neighbor")


@pytest.mark.parametrize(("wrong", "lost"), [("int8", 2), ("uint8", 2)])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_file_longer_than_its_header_says_is_named(
    tmp_path: Path, write_case: Callable[..., Path], wrong: str, lost: int, suffix: str
) -> None:
    case = BraTSFormat(tmp_path).case(write_case(tmp_path / "case1", suffix=suffix))
    path = case.images["t1"].path
    data = path.read_bytes() if suffix == ".nii" else gzip.decompress(path.read_bytes())
    header = nib.Nifti1Header(data[:348])
    header.set_data_dtype(np.int16)
    header["datatype"], header["bitpix"] = nib.nifti1.data_type_codes.code[np.dtype(wrong)], 8
    changed = header.binaryblock + data[348:]
    path.write_bytes(changed if suffix == ".nii" else gzip.compress(changed))
    _refused(case, f"case1_t1{suffix} is longer than its header says", wrong, "correct the data type")


def test_a_few_bytes_after_the_last_voxel_do_no_harm(tmp_path: Path, write_case: Callable[..., Path]) -> None:
    case = BraTSFormat(tmp_path).case(write_case(tmp_path / "case1", suffix=".nii"))
    path = case.images["t1"].path
    path.write_bytes(path.read_bytes() + b"written by a scanner")
    assert read_volume(case, ("t1",)).images.any()


@pytest.mark.parametrize(("size", "said"), [(1000.0, "12000 x 14000 x 10000 mm"), (0.01, "0.12 x 0.14 x 0.1 mm")])
def test_an_absurd_voxel_size_is_refused_by_the_header_alone(case: Case, size: float, said: str) -> None:
    _resave(case.images["flair"].path, lambda image: image.set_sform(np.diag([size, size, size, 1]), 1))
    _refused(case, f"case1_flair.nii.gz is said to cover {said}", "expected at most 600 mm", "correct the voxel sizes")


def test_a_pipe_in_the_place_of_an_image_is_named_and_not_waited_for(case: Case) -> None:
    path = case.images["flair"].path
    path.unlink()
    os.mkfifo(path)
    _refused(case, "case1_flair.nii.gz cannot be read (it is a pipe or a device, not a regular file)")
    with pytest.raises(CaseError, match="not a regular file"):
        case_digests(case)


def test_a_name_that_breaks_the_line_does_not_break_the_message(case: Case) -> None:
    path = case.images["flair"].path.rename(case.images["flair"].path.with_name("two\nlines.nii.gz"))
    path.write_bytes(b"")
    _refused(replace(case, images={**case.images, "flair": ImageFile(path)}), r"two\nlines.nii.gz is empty")


def test_what_is_odd_but_can_be_read_is_told(case: Case, tmp_path: Path) -> None:
    assert read_volume(case, ("flair", "t1")).doubts == ()
    shutil.copy(case.images["flair"].path, case.images["t1"].path)
    (said,) = read_volume(case, ("flair", "t1", "t2")).doubts
    assert said.startswith(
        "case1_t1.nii.gz holds the same image as case1_flair.nii.gz: one of the two modalities is missing"
    )


def test_an_image_without_orientation_is_told(case: Case) -> None:
    def nowhere(header: nib.Nifti1Header) -> None:
        header["sform_code"] = header["qform_code"] = 0

    for image in (*case.images.values(), case.label):
        _rewrite_header(image.path, nowhere)
    (said,) = read_volume(case, ("flair", "t1")).doubts
    assert said.startswith(
        "case1_flair.nii.gz has no orientation (neither sform nor qform is set): left and right cannot be"
    )


@pytest.mark.parametrize(("shift", "told"), [(0.5, False), (40.0, True)])
def test_two_places_in_one_header_are_told(case: Case, shift: float, told: bool) -> None:
    def move(image: nib.Nifti1Image) -> None:
        moved = image.affine.copy()
        moved[0, 3] += shift
        image.set_sform(image.affine, 1)
        image.set_qform(moved, 1)

    _resave(case.images["flair"].path, move)
    doubts = read_volume(case, ("flair",), label=False).doubts
    assert [f"sform and its qform are {shift:.0f} mm apart" in said for said in doubts] == [True] * told


def test_a_real_patient_reads_as_nibabel_reads_it(real_root: Path) -> None:
    case = BraTSFormat(real_root).cohort().cases[0]
    volume = read_volume(case, ("flair", "t1ce", "t1", "t2"))
    assert volume.images.dtype == np.int16
    for channel, modality in zip(volume.images, volume.modalities, strict=True):
        assert np.array_equal(channel, np.asanyarray(nib.load(case.images[modality].path).dataobj))
    assert case.label is not None
    assert np.array_equal(volume.label, np.asanyarray(nib.load(case.label.path).dataobj))
