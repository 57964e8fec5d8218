"""What a network learns from: heads whose every scan is drawn anew, or real scans, varied."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch

from neuroprint.data.brain_box import brain_box
from neuroprint.data.phantom import GENERATOR_VERSION, PhantomSettings, make_phantom
from neuroprint.data.phantom.seeds import refuse_evaluation_seed
from neuroprint.embedding.preprocessing import prepare
from neuroprint.errors import NeuroprintError
from neuroprint.training.appearance import AppearanceSettings, render
from neuroprint.training.deform import DeformSettings, deform
from neuroprint.training.regions import prepare_regions, regions_of

if TYPE_CHECKING:
    from torch import Tensor

    from neuroprint.encoders.base import InputSpec

_REGIONS = 3


class Example(NamedTuple):
    """One scan and its truth.

    Attributes:
        image: ``(C, X, Y, Z)`` as the network wants it.
        regions: ``(3, X, Y, Z)`` 0 or 1: whole tumour, core, enhancing.
    """

    image: Tensor
    regions: Tensor


class Source(Protocol):
    """Where examples come from."""

    @property
    def identity(self) -> dict[str, Any]:
        """JSON-able: equal identities give equal examples."""

    def example(self, number: int) -> Example:
        """The training example of this number: a pure function of it, so that training can be resumed anywhere."""

    def validation(self) -> list[Example]:
        """Scans that are never trained on, as they come."""


@dataclass(frozen=True)
class PhantomSource:
    """Phantoms on the network's own grid. A head is made once and kept; its placement and its scans are drawn every time.

    Args:
        spec: What the network wants.
        seed: Of the heads that are learnt from. The next seed's are for validation.
        cases: Heads to learn from.
        validation_cases: Heads to validate on.
        size: Field of view of an example, voxels.
        cache: Folder in which the heads are kept.
        place: Random placement.
        appearance: Random scanners.
    """

    spec: InputSpec
    seed: int
    cases: int
    validation_cases: int
    size: Sequence[int]
    cache: str | Path
    place: DeformSettings = field(default_factory=DeformSettings)
    appearance: AppearanceSettings = field(default_factory=AppearanceSettings)

    def __post_init__(self) -> None:
        refuse_evaluation_seed(self.seed)
        check_size(self.size, self.spec.divisor)
        if self.spec.spacing_mm is None:
            raise NeuroprintError(
                "encoder.spacing_mm=null: phantoms are made on the network's grid; give its voxel size"
            )

    @property
    def identity(self) -> dict[str, Any]:
        kept = ("seed", "cases", "validation_cases")
        return {
            "phantoms": GENERATOR_VERSION,
            **{name: getattr(self, name) for name in kept},
            "size": list(self.size),
            "place": asdict(self.place),
            "appearance": asdict(self.appearance),
        }

    def example(self, number: int) -> Example:
        rng = np.random.default_rng([self.seed, number])
        maps = torch.from_numpy(self._head(_shuffled(self.seed, self.cases, number)))
        placed = deform(maps, self.size, self.place, rng) / 255
        tissues, regions = placed[:-_REGIONS], placed[-_REGIONS:] >= 0.5
        image = render(tissues, self.spec.modalities, self._spacing_mm, self.appearance, rng)
        return Example(image, regions.float())

    def validation(self) -> list[Example]:
        found = []
        for index in range(self.validation_cases):
            phantom = make_phantom(self.seed + 1, index, PhantomSettings(self._spacing_mm))
            images = [phantom.images[name] for name in self.spec.modalities]
            box = brain_box(np.stack(images))
            image = prepare(images, phantom.affine, box, self.spec).image
            truth = prepare_regions(phantom.label, "brats", phantom.affine, box, self.spec)
            found.append(Example(torch.from_numpy(image), torch.from_numpy(truth.astype(np.float32))))
        return found

    @cached_property
    def _spacing_mm(self) -> float:
        return float(self.spec.spacing_mm or 0)

    def _head(self, index: int) -> npt.NDArray[np.uint8]:
        """Tissue memberships and regions of a head, ``(T + 3, X, Y, Z)``, from 0 to 255, cropped to the brain."""
        folder = Path(self.cache) / f"heads-v{GENERATOR_VERSION}-{self._spacing_mm:g}mm-seed{self.seed}"
        file = folder / f"{index:05d}.npy"
        if file.is_file():
            stored: npt.NDArray[np.uint8] = np.asarray(np.load(file), np.uint8)
            return stored
        phantom = make_phantom(self.seed, index, PhantomSettings(self._spacing_mm))
        box = tuple(slice(start, stop) for start, stop in brain_box(np.stack(list(phantom.images.values()))))
        regions = regions_of(phantom.label, "brats")[:, *box]
        maps = np.concatenate([phantom.tissues[:, *box], regions.astype(np.float32)])
        bytes_: npt.NDArray[np.uint8] = np.rint(maps * 255).astype(np.uint8)
        _save(file, bytes_)
        return bytes_


@dataclass(frozen=True)
class ScanSource:
    """Labelled scans from a folder: a part of the patients is for validation, the rest is moved and varied.

    Args:
        spec: What the network wants.
        root: A BraTS folder, an MSD task folder or a manifest.
        seed: Of the variation.
        validation_share: Share of the patients kept for validation, chosen by a hash of their ids.
        size: Field of view of an example, voxels.
        cache: Folder in which the prepared scans are kept.
        place: Random placement.
        gain: Each channel is multiplied by 1 and shifted by 0, up to this much.
        noise: Standard deviation of added noise, up to this much.
    """

    spec: InputSpec
    root: str | Path
    seed: int
    validation_share: float
    size: Sequence[int]
    cache: str | Path
    place: DeformSettings = field(default_factory=DeformSettings)
    gain: float = 0.2
    noise: float = 0.1

    def __post_init__(self) -> None:
        check_size(self.size, self.spec.divisor)
        if not self._split[0] or not self._split[1]:
            raise NeuroprintError(
                f"{Path(self.root).name}: {len(self._split[0])} labelled cases to learn from and {len(self._split[1])} to "
                "validate on; at least one of each is needed: change learn_from.validation_share"
            )

    @property
    def identity(self) -> dict[str, Any]:
        kept = ("seed", "validation_share", "gain", "noise")
        return {
            "scans": self._fingerprint,
            **{name: getattr(self, name) for name in kept},
            "size": list(self.size),
            "place": asdict(self.place),
        }

    def example(self, number: int) -> Example:
        rng = np.random.default_rng([self.seed, number])
        cases = self._split[0]
        image, regions = self._prepared(cases[_shuffled(self.seed, len(cases), number)])
        both = torch.from_numpy(np.concatenate([image, regions.astype(np.float32)]))
        placed = deform(both, self.size, self.place, rng)
        image_, truth = placed[:-_REGIONS], placed[-_REGIONS:] >= 0.5
        inside = image_ != 0
        factor = torch.from_numpy(rng.uniform(1 - self.gain, 1 + self.gain, (len(image_), 1, 1, 1)).astype(np.float32))
        offset = torch.from_numpy(rng.uniform(-self.gain, self.gain, (len(image_), 1, 1, 1)).astype(np.float32))
        noise = torch.from_numpy(rng.standard_normal(tuple(image_.shape), dtype=np.float32))
        varied = image_ * factor + offset + float(self.noise * rng.random()) * noise
        return Example(varied * inside, truth.float())

    def validation(self) -> list[Example]:
        prepared = (self._prepared(case) for case in self._split[1])
        return [Example(torch.from_numpy(image), torch.from_numpy(r.astype(np.float32))) for image, r in prepared]

    @cached_property
    def _cohort(self) -> Any:
        from neuroprint.data.find import find_cohort

        return find_cohort(Path(self.root))

    @cached_property
    def _fingerprint(self) -> str:
        from neuroprint.data.fingerprint import FingerprintCache
        from neuroprint.data.prints import fingerprint_cohort

        return fingerprint_cohort(self._cohort, FingerprintCache(Path(self.cache) / "fingerprints.sqlite"))[1]

    @cached_property
    def _split(self) -> tuple[list[Any], list[Any]]:
        """Cases to learn from and to validate on; a patient's are all on one side."""
        from neuroprint.evaluation.folds import in_holdout

        labelled = [case for case in self._cohort.cases if case.label is not None]
        kept = [case for case in labelled if in_holdout(case.patient, self.validation_share)]
        return [case for case in labelled if case not in kept], kept

    def _prepared(self, case: Any) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        from neuroprint.data.volume import read_volume

        spec = self.spec
        file = (
            Path(self.cache)
            / f"scans-{self._fingerprint[:16]}"
            / f"{case.id}-{spec.spacing_mm}-{spec.normalisation}.npz"
        )
        if file.is_file():
            with np.load(file) as stored:
                return stored["image"], stored["regions"]
        volume = read_volume(case, spec.modalities)
        if volume.label is None:
            raise NeuroprintError(f"case {case.id}: it has no label to learn from")
        box = brain_box(volume.images)
        image = prepare(list(volume.images), volume.affine, box, spec).image
        regions = prepare_regions(volume.label, case.label_convention, volume.affine, box, spec)
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(f".{os.getpid()}.npz")
        np.savez(unfinished, image=image, regions=regions)
        unfinished.rename(file)
        return image, regions


def _shuffled(seed: int, cases: int, number: int) -> int:
    """Which case example ``number`` shows: every case once an epoch, in an order of its own."""
    epoch, place = divmod(number, cases)
    return int(np.random.default_rng([seed, epoch, cases]).permutation(cases)[place])


def _save(file: Path, array: npt.NDArray[Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(f".{os.getpid()}")
    with unfinished.open("wb") as stream:
        np.save(stream, array)
    unfinished.rename(file)


def check_size(size: Sequence[int], divisor: int) -> None:
    """Refuse a field of view that the network cannot take.

    Raises:
        NeuroprintError: It is not three multiples of the network's divisor.
    """
    if len(size) != 3 or any(n < divisor or n % divisor for n in size) or max(size) == divisor:
        raise NeuroprintError(
            f"learn_from.size={list(size)}: must be three multiples of {divisor} voxels, not all of them {divisor}"
        )
