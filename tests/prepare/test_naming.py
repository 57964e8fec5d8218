import pytest

from neuroprint.prepare.dicom import role_by_header
from neuroprint.prepare.naming import role_of


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("t1.nii.gz", "t1"),
        ("sub-01_ses-1_T1w.nii.gz", "t1"),
        ("sub-01_ce-gd_T1w.nii.gz", "t1ce"),
        ("BraTS-GLI-00001-000-t1c.nii.gz", "t1ce"),
        ("BraTS-GLI-00001-000-t1n.nii.gz", "t1"),
        ("BraTS-GLI-00001-000-t2f.nii.gz", "flair"),
        ("BraTS-GLI-00001-000-t2w.nii.gz", "t2"),
        ("UPENN-GBM-00001_11_T1GD.nii.gz", "t1ce"),
        ("AX T1 POST", "t1ce"),
        ("AX T1 +C", "t1ce"),
        ("AX T1 PRE", "t1"),
        ("T1 W/O CONTRAST", "t1"),
        ("t1_mprage_sag_p2_iso", "t1"),
        ("t2_tirm_tra_dark-fluid", "flair"),
        ("AX FLAIR T2", "flair"),
        ("Ax T2 FSE", "t2"),
        ("T2* GRE", None),
        ("ep2d_diff_3scan_trace", None),
        ("LOCALIZER", None),
        ("T1 T2 map", None),
        ("x_seg.nii.gz", "label"),
    ],
)
def test_a_series_is_told_by_its_name(name, role):
    assert role_of(name) == role


def times(repetition, echo, inversion=None, agent=None):
    tags = {"0018|0080": repetition, "0018|0081": echo, "0018|0082": inversion, "0018|0010": agent}
    return {tag: str(value) for tag, value in tags.items() if value is not None}


@pytest.mark.parametrize(
    ("description", "header", "role"),
    [
        ("brain", times(500, 10), "t1"),
        ("brain", times(500, 10, agent="Gadovist"), "t1ce"),
        ("brain", times(2000, 3, 900), "t1"),
        ("brain", times(4000, 100), "t2"),
        ("brain", times(9000, 120, 2200), "flair"),
        ("brain", times(2500, 30), None),
        ("brain", {}, None),
        ("AX T1", times(500, 10, agent="yes"), "t1ce"),
        ("AX T1", times(500, 10, agent="none"), "t1"),
        ("DWI b1000", times(4000, 100), None),
    ],
)
def test_a_header_tells_what_a_description_leaves_open(description, header, role):
    assert role_by_header(description, header) == role
