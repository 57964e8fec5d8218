"""Heads for tests: phantoms that get a skull, a scalp and a neck, and lie in the scanner as they please; and a template."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from neuroprint.data.load import load_cohort
from neuroprint.phantom.generate import make_phantom
from neuroprint.phantom.types import PhantomSettings
from neuroprint.prepare.grids import affine_of, to_array, to_sitk
from neuroprint.prepare.template import cohort_template

SIGNAL = {"t1": (0.25, 0.15, 1.5), "t1ce": (0.3, 0.2, 1.6), "t2": (1.6, 0.15, 0.7), "flair": (0.3, 0.15, 0.9)}
"""Of what lies around the brain, in means of the brain: fluid, skull, scalp."""


def head(seed: int, index: int, turn_degrees=(0.0, 0.0, 0.0), shift_mm=(0.0, 0.0, 0.0), thick_mm: float = 1.5):
    """A phantom's images by modality and its label, as SimpleITK images on a turned grid with axial slices.

    Returns the images, the label, and the phantom itself, whose own frame is the truth.
    """
    phantom = make_phantom(seed, index, PhantomSettings(2.0))
    brain = ndimage.binary_fill_holes(ndimage.binary_closing(phantom.images["t1"] > 0, iterations=2))
    pad = 12
    brain = np.pad(brain, pad)
    affine = phantom.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ np.full(3, pad)
    outside = ndimage.distance_transform_edt(~brain, sampling=2.0)
    z = np.arange(brain.shape[2])[None, None, :] * 2.0
    low = np.flatnonzero(brain.any(axis=(0, 1)))[0] * 2.0
    x, y = (
        np.arange(n)[shape] * 2.0
        for n, shape in zip(brain.shape[:2], ((slice(None), None, None), (None, slice(None), None)), strict=True)
    )
    middle = ndimage.center_of_mass(brain)
    neck = ((x - 2 * middle[0]) ** 2 + (y - 2 * middle[1]) ** 2 < 55.0**2) & (z < low + 20) & (z > low - 50)
    images = {}
    rng = np.random.default_rng([seed, index])
    for name, (fluid, skull, scalp) in SIGNAL.items():
        image = np.pad(phantom.images[name].astype(np.float32), pad)
        mean = image[brain].mean()
        around = np.select(
            [brain, outside < 3, outside < 9, (outside < 15) | neck], [0, fluid * mean, skull * mean, scalp * mean], 0.0
        )
        whole = np.where(brain, image, around) + np.abs(rng.normal(0, 0.02 * mean, image.shape))
        images[name] = _posed(whole.astype(np.float32), affine, turn_degrees, shift_mm, thick_mm, sitk.sitkLinear)
    label = _posed(
        np.pad(phantom.label, pad).astype(np.uint8), affine, turn_degrees, shift_mm, thick_mm, sitk.sitkNearestNeighbor
    )
    return images, label, phantom


def write_head(folder: Path, images, label=None) -> Path:
    folder.mkdir(parents=True)
    for name, image in {**images, **({"seg": label} if label is not None else {})}.items():
        array = to_array(image)
        array = array if array.dtype == np.uint8 else np.rint(array).astype(np.int16)
        nib.save(nib.Nifti1Image(array, affine_of(image)), folder / f"{name}.nii.gz")
    return folder


def _posed(array, affine, turn_degrees, shift_mm, thick_mm, interpolator):
    """Sampled in a scanner in which the head lies turned about its middle, and shifted."""
    image = to_sitk("head", "head", array, affine)
    center = np.array(image.TransformContinuousIndexToPhysicalPoint([n / 2 for n in image.GetSize()]))
    pose = sitk.Euler3DTransform()
    pose.SetCenter(center.tolist())
    pose.SetRotation(*np.radians(turn_degrees).tolist())
    pose.SetTranslation(list(shift_mm))
    size, spacing = [140, 140, round(260 / thick_mm)], [1.9, 1.9, thick_mm]
    grid = sitk.Image(size, sitk.sitkFloat32)
    grid.SetSpacing(spacing)
    grid.SetOrigin((center - (np.array(size) - 1) * spacing / 2).tolist())
    return sitk.Resample(image, grid, pose, interpolator, 0.0)


@pytest.fixture(scope="session")
def make_head():
    return head


@pytest.fixture(scope="session")
def save_head():
    return write_head


@pytest.fixture(scope="session")
def twelve(tmp_path_factory):
    """Phantoms, with a store of their own."""
    return load_cohort("phantom", cases=12, spacing_mm=2.0, store=tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def template(twelve):
    """The mean T1 of twelve phantoms."""
    return cohort_template(twelve)


@pytest.fixture(scope="session")
def turned_head(tmp_path_factory):
    """The folder of a head that lies turned in the scanner, with slices of 3 mm; and the phantom that it was made of."""
    images, label, phantom = head(7, 3, turn_degrees=(10, -8, 6), shift_mm=(6, -9, 4), thick_mm=3.0)
    return write_head(tmp_path_factory.mktemp("raw") / "head", images, label), phantom


@pytest.fixture(scope="session")
def prepared_head(turned_head, template):
    from neuroprint.prepare.case import prepare_case
    from neuroprint.prepare.examination import find_examinations

    return prepare_case(find_examinations(turned_head[0])[0], template)
