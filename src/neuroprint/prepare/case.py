"""One examination, prepared: brain found, series laid on each other and on a template, each interpolated once."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from neuroprint.data.case import Case, ImageFile
from neuroprint.data.volume import GRID_TOLERANCE_MM, read_volume
from neuroprint.errors import CaseError
from neuroprint.prepare.brain import brain_mask, is_stripped
from neuroprint.prepare.dicom import converted
from neuroprint.prepare.grids import around_mask, center_of, mass_center, one_thread, to_array, to_sitk
from neuroprint.prepare.naming import SERIES
from neuroprint.prepare.registration import Fit, register, turned_starts
from neuroprint.prepare.verdict import Quality, Verdict, judged

if TYPE_CHECKING:
    from collections.abc import Mapping

    import SimpleITK as sitk

    from neuroprint.prepare.examination import RawExamination
    from neuroprint.prepare.template import BrainTemplate

_EVERYWHERE_MM = 100.0
_AROUND_MM = 6.0  # of the brain is compared as well when series are laid on each other
_HEAD_TURNS = (-15.0, 0.0, 15.0)  # degrees, between series of one examination
_BRAIN_TURNS = (-15.0, 0.0, 15.0)  # degrees; from wider starts some heads come to lie wrongly, and fit better so
_SAME_SUPPORT = 0.8  # Dice with the template's brain, of what was prepared already


@dataclass(frozen=True, eq=False)
class PreparedCase:
    """A case in the template's space.

    Attributes:
        id: The examination's.
        images: (X, Y, Z) on the template's grid by modality, 0 outside the brain.
        label: (X, Y, Z) uint8, where there was one.
        affine: The template's.
        quality: Measures.
        verdict: In one word.
        reasons: Why it is not good.
        already: Whether it was in this space before, and nothing was done.
        transforms: By modality, (4, 4): from the template's world to the series', RAS+ mm.
    """

    id: str
    images: Mapping[str, npt.NDArray[Any]]
    label: npt.NDArray[np.uint8] | None
    affine: npt.NDArray[np.float64]
    quality: Quality
    verdict: Verdict
    reasons: tuple[str, ...]
    already: bool
    transforms: Mapping[str, npt.NDArray[np.float64]]

    def about(self) -> dict[str, Any]:
        """All but the voxels, as JSON has it."""
        return {
            "verdict": self.verdict,
            "reasons": list(self.reasons),
            "already_prepared": self.already,
            "quality": asdict(self.quality),
            "transforms": {name: matrix.round(6).tolist() for name, matrix in self.transforms.items()},
        }


@one_thread()
def prepare_case(examination: RawExamination, template: BrainTemplate, affine: bool = False) -> PreparedCase:
    """Lay an examination on a template; the same input gives the same voxels in every run.

    The series are laid on T1 rigidly (on T1 with contrast, where there is no T1), that on the template, and what leads
    from each series to the template is put together: each is interpolated once, linearly. A label goes with the series whose
    grid it has, by the nearest voxel.

    Args:
        examination: The files.
        template: Where to.
        affine: Whether the brain may be stretched and sheared to fit the template. BraTS's cohorts were made rigidly.

    Raises:
        CaseError: A file cannot be used, or no brain is found.
    """
    import SimpleITK as sitk

    if examination.problem:
        raise CaseError(examination.id, examination.problem)
    with TemporaryDirectory(prefix="neuroprint-prepare-") as scratch:
        raw = {
            name: _read(
                examination.id, name, source.files[0] if source.is_nifti else converted(examination.id, source, scratch)
            )
            for name, source in examination.series.items()
        }
    label = raw.pop("label", None)
    grid = to_sitk(examination.id, "template", template.soft, template.affine)
    brain = to_sitk(examination.id, "template", template.brain.astype(np.uint8), template.affine)
    if _is_prepared(raw, grid, template):
        return _as_it_is(examination.id, raw, label, template)
    hub = "t1" if "t1" in raw else "t1ce"
    remarks = (
        []
        if hub == "t1"
        else ["there is no T1: the brain was found on T1 with contrast, which was laid on the template"]
    )
    # One order of axes, so that what is drawn of the voxels does not depend on how a file lists them.
    compared = {name: _without_extremes(sitk.DICOMOrient(image, "RAS")) for name, image in raw.items()}
    mask = _own_mask(compared[hub]) if is_stripped(raw[hub]) else brain_mask(compared[hub])
    onto_template, own = _onto_template(grid, brain, compared[hub], mask, affine)
    if own:
        remarks.append("deepbet found no brain: the template's mask was taken")
    fits = _onto_hub(compared, hub, mask)
    chains = _chains(raw, fits, hub, onto_template)
    inside = to_array(brain) > 0 if mask is None else _resampled_mask(mask, grid, onto_template)
    images = {name: _resampled(raw[name], grid, chains[name]) for name in raw}
    covered = {name: _covered(raw[name], grid, chains[name], inside) for name in raw}
    quality = _measured(images[hub], inside, template, covered, {name: fit.information for name, fit in fits.items()})
    verdict, reasons = judged(quality, remarks)
    return PreparedCase(
        id=examination.id,
        images={name: np.where(inside, image, 0).astype(image.dtype) for name, image in images.items()},
        label=None if label is None else _label(examination.id, label, raw, grid, chains, hub),
        affine=template.affine,
        quality=quality,
        verdict=verdict,
        reasons=tuple(reasons),
        already=False,
        transforms={name: _matrix(chain) for name, chain in chains.items()},
    )


def _read(case: str, name: str, path: Path) -> sitk.Image:
    volume = read_volume(Case(case, case, {name: ImageFile(path)}), (name,), label=False)
    return to_sitk(case, path.name, volume.images[0], volume.affine)


def _is_prepared(raw: Mapping[str, sitk.Image], grid: sitk.Image, template: BrainTemplate) -> bool:
    """Whether all series lie on the template's grid, without skull, where the template's brain is."""
    if not all(_same_grid(image, grid) for image in raw.values()):
        return False
    return all(
        is_stripped(image) and _dice(to_array(image) != 0, template.brain) > _SAME_SUPPORT for image in raw.values()
    )


def _same_grid(one: sitk.Image, other: sitk.Image) -> bool:
    if one.GetSize() != other.GetSize():
        return False
    corners = [(0, 0, 0), tuple(n - 1 for n in one.GetSize())]
    places = [[np.array(image.TransformIndexToPhysicalPoint(corner)) for corner in corners] for image in (one, other)]
    return bool(np.abs(np.array(places[0]) - np.array(places[1])).max() <= GRID_TOLERANCE_MM) and np.allclose(
        one.GetDirection(), other.GetDirection(), atol=1e-3
    )


def _as_it_is(
    case: str, raw: Mapping[str, sitk.Image], label: sitk.Image | None, template: BrainTemplate
) -> PreparedCase:
    images = {name: to_array(image) for name, image in raw.items()}
    hub = "t1" if "t1" in raw else next(iter(raw))
    inside = np.logical_or.reduce([image != 0 for image in images.values()])
    quality = _measured(
        images[hub], inside, template, {name: float((image != 0)[inside].mean()) for name, image in images.items()}
    )
    return PreparedCase(
        id=case,
        images=images,
        label=None if label is None else to_array(label).astype(np.uint8),
        affine=template.affine,
        quality=quality,
        verdict="good",
        reasons=("it was in this space already, without skull: its files were copied",),
        already=True,
        transforms={name: np.eye(4) for name in raw},
    )


def _without_extremes(image: sitk.Image) -> sitk.Image:
    """Float32 from 0: bright vessels and the offset of the air would take most bins of a histogram."""
    import SimpleITK as sitk

    array = sitk.GetArrayViewFromImage(image)
    low, high = (float(value) for value in np.percentile(array[::2, ::2, ::2], (0.5, 99.8)))
    return sitk.Clamp(sitk.Cast(image, sitk.sitkFloat32) - low, sitk.sitkFloat32, 0.0, max(high - low, 1e-6))


def _own_mask(image: sitk.Image) -> sitk.Image:
    import SimpleITK as sitk

    return sitk.BinaryFillhole(sitk.Cast(image > 0, sitk.sitkUInt8))


def _onto_template(
    grid: sitk.Image, brain: sitk.Image, hub: sitk.Image, mask: sitk.Image | None, affine: bool
) -> tuple[sitk.Transform, bool]:
    """From the template to the series that has the mask; and whether the template's own mask has to serve."""
    import SimpleITK as sitk

    center = mass_center(brain)
    around = around_mask(brain, _AROUND_MM)
    if mask is None:  # the head whole: only what lies within the template's brain is compared in the end
        onto = mass_center(hub)
        starts = [
            start
            for lift in (0.0, 30.0)
            for start in turned_starts(center, (onto[0], onto[1], onto[2] + lift), _HEAD_TURNS)
        ]
        return register(grid, hub, starts, brain, affine=affine).transform, True
    moving = sitk.Mask(hub, sitk.Resample(mask, hub, sitk.Transform(), sitk.sitkNearestNeighbor))
    starts = turned_starts(center, mass_center(mask), _BRAIN_TURNS)
    return register(grid, moving, starts, around, _EVERYWHERE_MM, affine).transform, False


def _onto_hub(compared: Mapping[str, sitk.Image], hub: str, mask: sitk.Image | None) -> dict[str, Fit]:
    """Of each other series, how points of the hub lie in it."""
    around = None if mask is None else around_mask(mask, _AROUND_MM)
    middle = center_of(compared[hub])

    def fit(image: sitk.Image) -> Fit:
        starts = turned_starts(mass_center(compared[hub]), mass_center(image), _HEAD_TURNS)
        return register(compared[hub], image, [*turned_starts(middle, middle, (0.0,)), *starts], around)

    return {name: fit(image) for name, image in compared.items() if name != hub}


def _chains(
    raw: Mapping[str, sitk.Image], fits: Mapping[str, Fit], hub: str, onto_template: sitk.Transform
) -> dict[str, sitk.Transform]:
    """Of each series, from the template's points to its own."""
    import SimpleITK as sitk

    return {
        name: onto_template if name == hub else sitk.CompositeTransform([fits[name].transform, onto_template])
        for name in raw
    }


def _resampled(image: sitk.Image, grid: sitk.Image, chain: sitk.Transform) -> npt.NDArray[Any]:
    import SimpleITK as sitk

    array = to_array(sitk.Resample(sitk.Cast(image, sitk.sitkFloat32), grid, chain, sitk.sitkLinear, 0.0))
    original = sitk.GetArrayViewFromImage(image)
    if original.dtype.kind in "iu" and np.abs(array).max() < np.iinfo(np.int16).max:
        array = np.rint(array).astype(np.int16)
    return array


def _resampled_mask(mask: sitk.Image, grid: sitk.Image, chain: sitk.Transform) -> npt.NDArray[np.bool_]:
    import SimpleITK as sitk

    share = sitk.Resample(sitk.Cast(mask, sitk.sitkFloat32), grid, chain, sitk.sitkLinear, 0.0)
    return np.asarray(to_array(share) > 0.5)


def _covered(image: sitk.Image, grid: sitk.Image, chain: sitk.Transform, inside: npt.NDArray[np.bool_]) -> float:
    import SimpleITK as sitk

    there = sitk.Resample(sitk.Cast(image * 0, sitk.sitkUInt8) + 1, grid, chain, sitk.sitkNearestNeighbor, 0.0)
    return float(to_array(there)[inside].astype(np.float64).mean()) if inside.any() else 0.0


def _measured(
    image: npt.NDArray[Any],
    inside: npt.NDArray[np.bool_],
    template: BrainTemplate,
    covered: Mapping[str, float],
    information: Mapping[str, float] | None = None,
) -> Quality:
    either = inside | (template.t1 > 0)
    shown = np.where(inside, image, 0)[either].astype(np.float64)
    alike = float(np.corrcoef(shown, template.soft[either])[0, 1]) if shown.std() > 0 else 0.0
    voxel_ml = float(abs(np.linalg.det(template.affine[:3, :3]))) / 1000
    return Quality(
        brain_ml=round(float(inside.sum()) * voxel_ml, 1),
        dice=round(_dice(inside, template.brain), 4),
        correlation=round(alike, 4),
        covered={name: round(covered[name], 4) for name in SERIES if name in covered},
        information={name: round(nats, 4) for name, nats in (information or {}).items()},
    )


def _dice(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    return 2 * float((one & other).sum()) / max(float(one.sum() + other.sum()), 1.0)


def _label(
    case: str,
    label: sitk.Image,
    raw: Mapping[str, sitk.Image],
    grid: sitk.Image,
    chains: Mapping[str, sitk.Transform],
    hub: str,
) -> npt.NDArray[np.uint8]:
    import SimpleITK as sitk

    order = [name for name in (hub, *SERIES) if name in raw]
    on = next((name for name in order if _same_grid(label, raw[name])), None)
    if on is None:
        raise CaseError(
            case,
            "its label lies on the grid of none of its series; resample it to the series it was drawn on",
        )
    values = sitk.GetArrayViewFromImage(label)
    if (values != np.rint(values)).any() or values.min() < 0 or values.max() > 255:
        raise CaseError(
            case, "its label holds values that are no whole numbers from 0 to 255; check that it is the label"
        )
    found = sitk.Resample(sitk.Cast(label, sitk.sitkUInt8), grid, chains[on], sitk.sitkNearestNeighbor, 0.0)
    return to_array(found).astype(np.uint8)


def _matrix(chain: sitk.Transform) -> npt.NDArray[np.float64]:
    """RAS+ mm to RAS+ mm."""
    origin = np.array(chain.TransformPoint((0.0, 0.0, 0.0)))
    axes = [np.array(chain.TransformPoint(tuple(unit))) - origin for unit in np.eye(3).tolist()]
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = np.array(axes).T, origin
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    turned: npt.NDArray[np.float64] = flip @ matrix @ flip
    return turned


def nifti_bytes(array: npt.NDArray[Any], affine: npt.NDArray[np.float64]) -> bytes:
    """A compressed NIfTI file, the same bytes for the same voxels."""
    import gzip

    image = nib.Nifti1Image(array, affine)
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    image.header.set_xyzt_units("mm")
    return gzip.compress(image.to_bytes(), compresslevel=4, mtime=0)
