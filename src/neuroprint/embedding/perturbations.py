"""Changes of a scan that a good fingerprint should bear: another pose, another scanner, a series that is missing.

Only query scans are changed, in patient space, before anything else sees them. What is drawn depends on the scan's content
and the seed alone, so that the same scan is changed alike in every run. The transforms are MONAI's.
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from nibabel.affines import apply_affine, voxel_sizes

from neuroprint.catalog.code import foreign_code
from neuroprint.data.brain_box import foreground
from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    from neuroprint.data.volume import Volume

_Image = npt.NDArray[np.float32]
_Matrix = npt.NDArray[np.float64]

PERTURBATIONS_VERSION = 1
"""Raised whenever a perturbation gives other voxels than before: stored features are then not used."""


@dataclass(frozen=True, kw_only=True)
class Perturbation(ABC):
    """A change of a scan.

    Attributes:
        seed: Of what is drawn, beside the scan's content.

    Example:
        >>> import neuroprint as npr
        >>> from neuroprint.data.volume import read_volume
        >>> case = npr.load_cohort("phantom", cases=1, spacing_mm=8.0).cases[0]
        >>> scan = read_volume(case, ("flair", "t1ce"), label=False)
        >>> changed = Missing(modality="t1ce")(scan, "a scan's digest")
        >>> bool(changed.images[0].any()), bool(changed.images[1].any())
        (True, False)
    """

    seed: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type in ("float", float) and not (isinstance(value, int | float) and 0 <= value < np.inf):
                raise NeuroprintError(f"perturb: {field.name}={value}: must be a number of 0 or more")

    @property
    def description(self) -> dict[str, Any]:
        """All that the changed voxels depend on beside the scan, JSON-able."""
        kind = f"{type(self).__module__}.{type(self).__qualname__}"
        return {
            "perturbation": kind,
            "version": PERTURBATIONS_VERSION,
            "code": foreign_code({"_target_": kind}),
            **asdict(self),
        }

    @property
    def words(self) -> str:
        """What is done, as a leaderboard says it: ``Pose(degrees=15.0, shift_mm=10.0)``."""
        own = [f"{field.name}={getattr(self, field.name)}" for field in fields(self) if field.name != "seed"]
        return f"{type(self).__name__}({', '.join(own)})"

    def check(self, modalities: Sequence[str]) -> None:  # noqa: B027 # most change any scan
        """Refuse a cohort that cannot be changed so.

        Args:
            modalities: Series that its cases have.

        Raises:
            NeuroprintError: Names what it lacks.
        """

    def __call__(self, volume: Volume, content: str) -> Volume:
        """The changed scan, float32, without its label.

        Args:
            volume: The scan.
            content: A digest of it, which is part of the seed.
        """
        brain = np.zeros(volume.images.shape[1:], dtype=bool)
        images = np.empty(volume.images.shape, np.float32)
        background = np.zeros(len(images), np.float32)
        for place, image in enumerate(volume.images):
            own = foreground(image)
            background[place] = np.median(image[~own]) if not own.all() else 0.0
            images[place] = image - background[place]
            brain |= own
        scan = StrippedScan(images * brain, brain, volume.affine, volume.modalities, f"{content} {self.seed}")
        changed = self.change(scan)
        whole = np.where(changed.brain, changed.images, 0.0) + background[:, None, None, None]
        return replace(volume, images=whole.astype(np.float32), label=None)

    @abstractmethod
    def change(self, scan: StrippedScan) -> StrippedScan:
        """The changed scan."""


@dataclass(frozen=True, eq=False)
class StrippedScan:
    """A scan whose background is 0.

    Attributes:
        images: (C, X, Y, Z) float32, 0 outside the brain.
        brain: (X, Y, Z) bool; the head, where there is a skull.
        affine: Voxel to world RAS+ mm, (4, 4).
        modalities: Name of each channel.
        seed: What all draws depend on.
    """

    images: _Image
    brain: npt.NDArray[np.bool_]
    affine: _Matrix
    modalities: tuple[str, ...]
    seed: str

    def number(self, what: str) -> int:
        """A seed for one kind of draw; of what concerns one series, the same whichever others are there."""
        return zlib.crc32(f"{self.seed} {what}".encode())

    def draws(self, what: str) -> np.random.Generator:
        """Random numbers for one kind of draw."""
        return np.random.default_rng(self.number(what))

    def each(self, transform: Any, what: str) -> StrippedScan:
        """A random transform of MONAI's on each series by itself."""
        import torch

        images = np.empty_like(self.images)
        for place, modality in enumerate(self.modalities):
            transform.set_random_state(self.number(f"{what} {modality}"))
            with torch.no_grad():
                images[place] = np.asarray(transform(torch.from_numpy(self.images[place][None].copy())))[0]
        return replace(self, images=images * self.brain)


@dataclass(frozen=True, kw_only=True)
class Unchanged(Perturbation):
    """``perturb=none``: queries are scans as they are."""

    def change(self, scan: StrippedScan) -> StrippedScan:
        return scan


@dataclass(frozen=True, kw_only=True)
class Pose(Perturbation):
    """The head is turned about each axis and shifted along each, by the patient's axes; it stays in the field of view.

    Attributes:
        degrees: The largest turn about an axis.
        shift_mm: The largest shift along an axis.
    """

    degrees: float = 15.0
    shift_mm: float = 10.0

    def change(self, scan: StrippedScan) -> StrippedScan:
        from scipy.spatial.transform import Rotation

        rng = scan.draws("pose")
        turn = Rotation.from_euler("xyz", rng.uniform(-self.degrees, self.degrees, 3), degrees=True).as_matrix()
        return _moved(scan, turn, rng.uniform(-self.shift_mm, self.shift_mm, 3))


@dataclass(frozen=True, kw_only=True)
class BrainSize(Perturbation):
    """The head is enlarged or made smaller, by a factor that is drawn evenly on a logarithmic scale.

    Attributes:
        percent: The largest change of a length.
    """

    percent: float = 10.0

    def change(self, scan: StrippedScan) -> StrippedScan:
        most = np.log1p(self.percent / 100.0)
        return _moved(scan, np.eye(3) * np.exp(scan.draws("brain size").uniform(-most, most)), np.zeros(3))


@dataclass(frozen=True, kw_only=True)
class Gain(Perturbation):
    """Each series is brighter or darker as a whole.

    Attributes:
        percent: The largest change.
    """

    percent: float = 50.0

    def change(self, scan: StrippedScan) -> StrippedScan:
        from monai.transforms import RandScaleIntensity

        most = self.percent / 100.0
        return scan.each(RandScaleIntensity(factors=(-most, most), prob=1.0), "gain")


@dataclass(frozen=True, kw_only=True)
class Contrast(Perturbation):
    """Each series has another contrast: its intensities, from their least to their largest, are raised to a power.

    Attributes:
        gamma: The largest power; the least is one over it.
    """

    gamma: float = 1.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gamma < 1:
            raise NeuroprintError(f"perturb: gamma={self.gamma}: must be 1 or more; the least power is one over it")

    def change(self, scan: StrippedScan) -> StrippedScan:
        from monai.transforms import RandAdjustContrast

        return scan.each(RandAdjustContrast(prob=1.0, gamma=(1.0 / self.gamma, self.gamma)), "contrast")


@dataclass(frozen=True, kw_only=True)
class BiasField(Perturbation):
    """Each series is multiplied by the exponential of a random polynomial of third degree in the place.

    Attributes:
        strength: Largest coefficient (``RandBiasField``'s ``coeff_range``).
    """

    strength: float = 0.2

    def change(self, scan: StrippedScan) -> StrippedScan:
        from monai.transforms import RandBiasField

        return scan.each(RandBiasField(degree=3, coeff_range=(-self.strength, self.strength), prob=1.0), "bias field")


@dataclass(frozen=True, kw_only=True)
class Noise(Perturbation):
    """Rician noise inside the brain.

    Attributes:
        percent: Its standard deviation, of the series' 98th percentile.
    """

    percent: float = 5.0

    def change(self, scan: StrippedScan) -> StrippedScan:
        from monai.transforms import RandRicianNoise

        level = [float(np.percentile(image[scan.brain], 98)) or 1.0 for image in scan.images]
        scale = np.array(level, np.float32)[:, None, None, None]
        noise = RandRicianNoise(prob=1.0, std=self.percent / 100.0, sample_std=False)
        noisy = replace(scan, images=scan.images / scale).each(noise, "noise")
        return replace(noisy, images=noisy.images * scale)


@dataclass(frozen=True, kw_only=True)
class ThickSlices(Perturbation):
    """Slices across the axis from feet to head are averaged to thick ones, and interpolated back.

    Attributes:
        slice_mm: Thickness; a scan whose slices are as thick is not changed.
    """

    slice_mm: float = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.slice_mm <= 0:
            raise NeuroprintError(f"perturb: slice_mm={self.slice_mm}: must be above 0")

    def change(self, scan: StrippedScan) -> StrippedScan:
        import torch
        from monai.transforms import Resize
        from nibabel.orientations import io_orientation

        axis = int(np.flatnonzero(io_orientation(scan.affine)[:, 0] == 2)[0])
        shape = scan.brain.shape
        slices = max(1, round(shape[axis] * float(voxel_sizes(scan.affine)[axis]) / self.slice_mm))
        if slices >= shape[axis]:
            return scan
        fewer = [slices if each == axis else size for each, size in enumerate(shape)]
        thin = torch.from_numpy(np.concatenate([scan.images, scan.brain[None].astype(np.float32)]))
        back = np.asarray(Resize(shape, mode="trilinear")(Resize(fewer, mode="area")(thin)))
        # What a slice holds beside the brain is not averaged in: skulls are stripped from thick slices too.
        return replace(scan, images=(back[:-1] / np.maximum(back[-1], 1e-3) * scan.brain).astype(np.float32))


@dataclass(frozen=True, kw_only=True)
class Missing(Perturbation):
    """A series is missing: it is background everywhere. A scan that never had it is not changed.

    Attributes:
        modality: Which.
    """

    modality: str

    def check(self, modalities: Sequence[str]) -> None:
        if self.modality not in modalities:
            raise NeuroprintError(
                f"perturb: modality={self.modality}: the cohort has {', '.join(modalities)}; it cannot go missing"
            )

    def change(self, scan: StrippedScan) -> StrippedScan:
        kept = np.array([name != self.modality for name in scan.modalities])
        return replace(scan, images=scan.images * kept[:, None, None, None])


@dataclass(frozen=True, kw_only=True)
class Several(Perturbation):
    """One after the other.

    Attributes:
        parts: The perturbations; their own seeds do not count.
    """

    parts: Sequence[Perturbation]

    def __post_init__(self) -> None:
        if not self.parts:
            raise NeuroprintError("perturb: parts is empty, expected at least one perturbation")

    def check(self, modalities: Sequence[str]) -> None:
        for part in self.parts:
            part.check(modalities)

    @property
    def words(self) -> str:
        return " + ".join(part.words for part in self.parts)

    @property
    def description(self) -> dict[str, Any]:
        return {**super().description, "parts": [part.description for part in self.parts]}

    def change(self, scan: StrippedScan) -> StrippedScan:
        for part in self.parts:
            scan = part.change(scan)
        return scan


def _moved(scan: StrippedScan, linear: _Matrix, shift_mm: npt.NDArray[np.float64]) -> StrippedScan:
    """A head turned and scaled about its middle by ``linear`` (3, 3), then shifted; brought back into the field of view."""
    import torch
    from monai.transforms import Affine

    if not scan.brain.any():
        return scan
    inside = np.argwhere(scan.brain[::2, ::2, ::2]) * 2 if scan.brain[::2, ::2, ::2].any() else np.argwhere(scan.brain)
    places = apply_affine(scan.affine, inside)
    middle = (places.min(axis=0) + places.max(axis=0)) / 2
    forth = np.eye(4)
    forth[:3, :3], forth[:3, 3] = linear, middle + shift_mm - linear @ middle
    into_voxels = np.linalg.inv(scan.affine)
    moved = apply_affine(into_voxels @ forth, places)
    last = np.array(scan.brain.shape) - 1
    low, high = moved.min(axis=0), moved.max(axis=0)
    back = np.where(high - low > last, (last - low - high) / 2, np.maximum(-low, 0) - np.maximum(high - last, 0))
    forth[:3, 3] += scan.affine[:3, :3] @ back
    # MONAI wants output places to input places, in voxels from the volume's middle.
    center = np.eye(4)
    center[:3, 3] = last / 2
    matrix = np.linalg.inv(center) @ into_voxels @ np.linalg.inv(forth) @ scan.affine @ center
    both = torch.from_numpy(np.concatenate([scan.images, scan.brain[None].astype(np.float32)]))
    found, _ = Affine(affine=matrix, mode="bilinear", padding_mode="zeros", image_only=False)(both)
    whole = np.asarray(found)
    brain = whole[-1] >= 0.5
    # At the brain's edge a voxel is the mean of what of it is brain.
    return replace(scan, images=(whole[:-1] / np.maximum(whole[-1], 0.5) * brain).astype(np.float32), brain=brain)
