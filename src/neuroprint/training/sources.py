"""Phantoms to learn from: heads whose every scan is drawn anew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from neuroprint.data.brain_box import brain_box
from neuroprint.data.digests import digest
from neuroprint.data.files import written_whole
from neuroprint.embedding.preprocessing import prepare, resample
from neuroprint.errors import NeuroprintError
from neuroprint.phantom import GENERATOR_VERSION, PhantomSettings, make_phantom
from neuroprint.phantom.seeds import refuse_evaluation_seed
from neuroprint.phantom.types import TISSUES
from neuroprint.training.appearance import AppearanceSettings, render
from neuroprint.training.deform import DeformSettings, deform
from neuroprint.training.examples import Example, check_size, framed, kept, shuffled, widened
from neuroprint.training.regions import of_like_volume, prepare_regions, regions_of

if TYPE_CHECKING:
    from neuroprint.encoders.base import InputSpec

_REGIONS = 3
_EDEMA = TISSUES.index("edema")
_CORE = [TISSUES.index(name) for name in ("necrosis", "non_enhancing", "enhancing")]


@dataclass(frozen=True)
class PhantomSource:
    """Phantoms on the network's own grid. A head is made once and kept; its placement and its scans are drawn every time.

    Args:
        spec: What the network wants.
        seed: Of the heads that are learned from. The next seed's are for validation.
        cases: Heads to learn from.
        validation_cases: Heads to validate on.
        size: Field of view of an example, voxels.
        cache: Folder in which the heads are kept.
        head_mm: Voxel size at which heads are made, before they are brought to the network's grid as scans are; None
            makes them on that grid.
        alike: Chance that the whole tumor looks like edema, and is nothing else.
        as_made: Share of the examples that are a phantom as it was made, neither placed nor scanned anew.
        place: Random placement.
        appearance: Random scanners.
    """

    spec: InputSpec
    seed: int
    cases: int
    validation_cases: int
    size: Sequence[int]
    cache: str | Path
    head_mm: float | None = None
    alike: float = 0.0
    as_made: float = 0.0
    place: DeformSettings = field(default_factory=DeformSettings)
    appearance: AppearanceSettings = field(default_factory=AppearanceSettings)

    def __post_init__(self) -> None:
        for name in ("cases", "validation_cases"):
            if getattr(self, name) < 1:
                raise NeuroprintError(f"learn_from.{name}={getattr(self, name)}: must be at least 1")
        if self.head_mm is not None and not self.head_mm > 0:
            raise NeuroprintError(f"learn_from.head_mm={self.head_mm}: must be greater than 0")
        for name in ("alike", "as_made"):
            if not 0 <= getattr(self, name) <= 1:
                raise NeuroprintError(f"learn_from.{name}={getattr(self, name)}: must be from 0 to 1")
        refuse_evaluation_seed(self.seed)
        check_size(self.size, self.spec.divisor)
        if self.spec.spacing_mm is None:
            raise NeuroprintError(
                "encoder.spacing_mm=null: phantoms are made on the network's grid; give its voxel size"
            )

    @property
    def identity(self) -> dict[str, Any]:
        kept = ("seed", "cases", "validation_cases", "head_mm", "alike", "as_made")
        return {
            "phantoms": GENERATOR_VERSION,
            **{name: getattr(self, name) for name in kept},
            "size": list(self.size),
            "place": asdict(self.place),
            "appearance": asdict(self.appearance),
        }

    def example(self, number: int) -> Example:
        rng = np.random.default_rng([self.seed, number])
        index = shuffled(self.seed, self.cases, number)
        if self.as_made and rng.random() < self.as_made:
            return framed(self._as_made(self.seed, index), self.size)
        maps = torch.from_numpy(self._head(index))
        placed = deform(maps, self.size, self.place, rng) / 255
        tissues, regions = placed[:-_REGIONS], of_like_volume(placed[-_REGIONS:])
        if self.alike and rng.random() < self.alike:
            tissues[_EDEMA] += tissues[_CORE].sum(dim=0)
            tissues[_CORE] = 0
            regions[1:] = False
        image = render(tissues, self.spec.modalities, self._spacing_mm, self.appearance, rng)
        return Example(image, regions.float())

    @property
    def learned_from(self) -> frozenset[str]:
        """Nothing that could be scored: seeds of training and of evaluation are apart."""
        return frozenset()

    def ready(self) -> None:
        """Heads are made as they come."""

    def validation(self) -> Iterator[Example]:
        for index in range(self.validation_cases):
            yield widened(self._as_made(self.seed + 1, index), self.spec.divisor)

    def _as_made(self, seed: int, index: int) -> Example:
        """A phantom as its scanner saw it, prepared as for extraction."""
        spec = digest([asdict(self.spec), seed, self._made_mm])[:16]
        folder = Path(self.cache) / f"scans-v{GENERATOR_VERSION}-{spec}"
        return kept(folder / f"{index:05d}.npz", partial(self._prepared, seed, index))

    def _prepared(self, seed: int, index: int) -> Example:
        phantom = make_phantom(seed, index, PhantomSettings(self._made_mm))
        images = [phantom.images[name] for name in self.spec.modalities]
        box = brain_box(np.stack(images))
        image = prepare(images, phantom.affine, box, self.spec).image
        truth = prepare_regions(phantom.label, "brats", phantom.affine, box, self.spec)
        return Example(torch.from_numpy(image), torch.from_numpy(truth))

    @cached_property
    def _spacing_mm(self) -> float:
        return float(self.spec.spacing_mm or 0)

    @property
    def _made_mm(self) -> float:
        return self._spacing_mm if self.head_mm is None else self.head_mm

    def _head(self, index: int) -> npt.NDArray[np.uint8]:
        """Tissue memberships and regions of a head, ``(T + 3, X, Y, Z)``, from 0 to 255, cropped to the brain."""
        grid = f"{self._spacing_mm:g}mm" + ("" if self._made_mm == self._spacing_mm else f"-of-{self._made_mm:g}mm")
        folder = Path(self.cache) / f"heads-v{GENERATOR_VERSION}-{grid}-seed{self.seed}"
        file = folder / f"{index:05d}.npy"
        if file.is_file():
            stored: npt.NDArray[np.uint8] = np.asarray(np.load(file), np.uint8)
            return stored
        phantom = make_phantom(self.seed, index, PhantomSettings(self._made_mm))
        box = tuple(slice(start, stop) for start, stop in brain_box(np.stack(list(phantom.images.values()))))
        regions = regions_of(phantom.label, "brats")[:, *box]
        maps = np.concatenate([phantom.tissues[:, *box], regions.astype(np.float32)])
        maps = resample(maps, (self._made_mm,) * 3, self._spacing_mm)
        bytes_: npt.NDArray[np.uint8] = np.rint(maps * 255).astype(np.uint8)
        with written_whole(file) as stream:
            np.save(stream, bytes_)
        return bytes_
