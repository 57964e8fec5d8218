"""Phantoms to learn from: heads whose every scan is drawn anew."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from neuroprint.data.brain_box import brain_box
from neuroprint.data.phantom import GENERATOR_VERSION, PhantomSettings, make_phantom
from neuroprint.data.phantom.seeds import refuse_evaluation_seed
from neuroprint.embedding.preprocessing import prepare
from neuroprint.embedding.store import digest
from neuroprint.errors import NeuroprintError
from neuroprint.training.appearance import AppearanceSettings, render
from neuroprint.training.deform import DeformSettings, deform
from neuroprint.training.examples import Example, check_size, kept, shuffled, widened
from neuroprint.training.regions import prepare_regions, regions_of

if TYPE_CHECKING:
    from neuroprint.encoders.base import InputSpec

_REGIONS = 3


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
        for name in ("cases", "validation_cases"):
            if getattr(self, name) < 1:
                raise NeuroprintError(f"learn_from.{name}={getattr(self, name)}: must be at least 1")
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
        maps = torch.from_numpy(self._head(shuffled(self.seed, self.cases, number)))
        placed = deform(maps, self.size, self.place, rng) / 255
        tissues, regions = placed[:-_REGIONS], placed[-_REGIONS:] >= 0.5
        image = render(tissues, self.spec.modalities, self._spacing_mm, self.appearance, rng)
        return Example(image, regions.float())

    @property
    def learnt_from(self) -> frozenset[str]:
        """Nothing that could be scored: seeds of training and of evaluation are apart."""
        return frozenset()

    def ready(self) -> None:
        """Heads are made as they come."""

    def validation(self) -> Iterator[Example]:
        spec = digest([asdict(self.spec), self.seed + 1])[:16]
        folder = Path(self.cache) / f"validation-v{GENERATOR_VERSION}-{spec}"
        for index in range(self.validation_cases):
            yield widened(kept(folder / f"{index:05d}.npz", partial(self._undisturbed, index)), self.spec.divisor)

    def _undisturbed(self, index: int) -> Example:
        """A validation head as its scanner saw it, prepared as for extraction."""
        phantom = make_phantom(self.seed + 1, index, PhantomSettings(self._spacing_mm))
        images = [phantom.images[name] for name in self.spec.modalities]
        box = brain_box(np.stack(images))
        image = prepare(images, phantom.affine, box, self.spec).image
        truth = prepare_regions(phantom.label, "brats", phantom.affine, box, self.spec)
        return Example(torch.from_numpy(image), torch.from_numpy(truth))

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


def _save(file: Path, array: npt.NDArray[Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(f".{os.getpid()}")
    with unfinished.open("wb") as stream:
        np.save(stream, array)
    unfinished.rename(file)
