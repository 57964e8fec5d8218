import random

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage

from neuroprint.prepare.dicom import converted
from neuroprint.prepare.examination import find_examinations

SHAPE, SPACING = (40, 48, 14), (1.0, 1.1, 5.0)
SERIES = {  # description, repetition, echo and inversion times in ms, contrast agent
    "t1": ("AX BRAIN", 500, 10, None, None),
    "t1ce": ("AX BRAIN", 500, 10, None, "GADOVIST"),
    "t2": ("AX T2 FSE", 4000, 100, None, None),
    "flair": ("", 9000, 120, 2200, None),
}


def write_series(folder, number, study, image, description, repetition, echo, inversion, agent, rng, kind="PRIMARY"):
    """One series of axial slices, under file names that say nothing, in any order; x to the left, y to the back."""
    series = UID(f"1.2.3.{study}.{number}")
    slices = list(range(image.shape[2]))
    rng.shuffle(slices)
    for place in slices:
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = MRImageStorage, ExplicitVRLittleEndian
        meta.MediaStorageSOPInstanceUID = UID(f"{series}.{place + 1}")
        path = folder / f"{rng.randrange(10**9):09d}{rng.choice(['', '.dcm', '.IMA'])}"
        data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
        data.SOPClassUID, data.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
        data.StudyInstanceUID, data.SeriesInstanceUID = UID(f"1.2.3.{study}"), series
        data.FrameOfReferenceUID = UID(f"1.2.4.{study}")
        data.PatientName, data.PatientID, data.Modality, data.Manufacturer = "Doe^Jane", "4711", "MR", "SIEMENS"
        data.SeriesDescription, data.SeriesNumber = description, number
        data.InstanceNumber, data.AcquisitionNumber = place + 1, 1
        data.ImageType = ["ORIGINAL" if kind == "PRIMARY" else "DERIVED", kind, "M"]
        data.RepetitionTime, data.EchoTime = repetition, echo
        if inversion:
            data.InversionTime = inversion
        if agent:
            data.ContrastBolusAgent = agent
        data.Rows, data.Columns = image.shape[1], image.shape[0]
        data.PixelSpacing, data.SliceThickness = [SPACING[1], SPACING[0]], SPACING[2]
        data.SpacingBetweenSlices = SPACING[2]
        data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        data.ImagePositionPatient = [-20.0, -26.0, -30.0 + place * SPACING[2]]
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
        data.PixelData = np.ascontiguousarray(image[:, :, place].T.astype("<i2")).tobytes()
        data.save_as(path, enforce_file_format=True)


@pytest.fixture
def study(tmp_path):
    """A folder of DICOM files, four series shuffled; and the images."""
    folder, rng = tmp_path / "patient", random.Random(0)
    folder.mkdir()
    images = {name: np.random.default_rng(n).integers(0, 900, SHAPE) for n, name in enumerate(SERIES)}
    for number, (name, header) in enumerate(SERIES.items(), start=1):
        write_series(folder, number, 1, images[name], *header, rng)
    (folder / "readme.txt").write_text("no DICOM")
    return folder, images, rng


def test_series_are_told_by_their_headers_and_converted_whole(study, tmp_path):
    folder, images, _ = study
    (found,) = find_examinations(folder)
    assert (found.id, set(found.series), found.problem) == ("patient", set(SERIES), "")
    for name, source in found.series.items():
        image = nib.as_closest_canonical(nib.load(converted("patient", source, tmp_path)))
        assert np.array_equal(np.asarray(image.dataobj)[::-1, ::-1], images[name])
        assert image.header.get_zooms() == pytest.approx(SPACING)
        first = image.affine @ [SHAPE[0] - 1, SHAPE[1] - 1, 0, 1]  # the voxel that DICOM names first, in RAS
        assert first[:3] == pytest.approx([20, 26, -30], abs=1e-3)


def test_what_was_made_up_from_other_images_is_left_out(study):
    folder, images, rng = study
    write_series(folder, 9, 1, images["t1"], "AX T1 SUB", 500, 10, None, None, rng, kind="SECONDARY")
    write_series(folder, 10, 1, images["t1"][:, :, :3], "AX T1", 500, 10, None, None, rng)
    assert find_examinations(folder)[0].problem == ""


def test_two_series_of_a_kind_are_named_and_an_option_settles_it(study):
    folder, images, rng = study
    write_series(folder, 9, 1, images["t2"], "AX T2 FSE REPEAT", 4000, 100, None, None, rng)
    assert "2 series may be its t2: AX T2 FSE, AX T2 FSE REPEAT" in find_examinations(folder)[0].problem
    write_series(folder, 11, 1, images["t2"], "AX T2 FSE", 4000, 100, None, None, rng)
    assert "AX T2 FSE REPEAT, AX T2 FSE, number 11, AX T2 FSE, number 3" in find_examinations(folder)[0].problem
    chosen = find_examinations(folder, {"t2": "*repeat"})[0]
    assert chosen.problem == "" and chosen.series["t2"].name == "AX T2 FSE REPEAT"


def test_folders_with_a_study_each_are_examinations_each(study, tmp_path):
    _, images, rng = study
    (tmp_path / "another").mkdir()
    for number, (name, header) in enumerate(SERIES.items(), start=1):
        write_series(tmp_path / "another", number, 2, images[name], *header, rng)
    assert [found.id for found in find_examinations(tmp_path)] == ["another", "patient"]


def test_nothing_of_a_patient_is_in_what_is_read(study):
    assert "Doe" not in repr(find_examinations(study[0])) and "4711" not in repr(find_examinations(study[0]))
    assert pydicom.dcmread(next(study[0].glob("*.dcm"))).PatientName == "Doe^Jane"
