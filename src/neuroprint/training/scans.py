"""Labeled scans to learn from: each is prepared once and varied every time it is shown."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from neuroprint.data.brain_box import brain_box
from neuroprint.data.case import Case, LabelConvention
from neuroprint.data.cohort import Cohort
from neuroprint.data.digests import digest
from neuroprint.data.formats.manifest import ManifestFormat
from neuroprint.data.labels import convention_of, conventions_that_tell, tells_parts
from neuroprint.data.load import recognize
from neuroprint.data.volume import read_volume
from neuroprint.embedding.preprocessing import prepare
from neuroprint.encoders.trained_on import mark
from neuroprint.errors import CaseError, NeuroprintError
from neuroprint.phantom.cohort import SETTINGS_FILE
from neuroprint.phantom.seeds import FIRST_TRAINING_SEED, refuse_evaluation_seed
from neuroprint.training.deform import DeformSettings, deform
from neuroprint.training.examples import Example, check_size, kept, shuffled, widened
from neuroprint.training.regions import of_like_volume, prepare_regions

if TYPE_CHECKING:
    from neuroprint.encoders.base import InputSpec

log = logging.getLogger(__name__)

_SALT = "neuroprint validation"  # not the hold-out's: which patients a sweep keeps back is no business of training
_REGIONS = 3


@dataclass(frozen=True)
class ScanSource:
    """Labeled scans from a folder: a part of the patients is for validation, the rest is moved and varied.

    Args:
        spec: What the network wants.
        root: A BraTS folder, an MSD task folder or a manifest.
        seed: Of the variation.
        validation_share: Share of the patients kept for validation, chosen by a hash of their ids.
        size: Field of view of an example, voxels.
        cache: Folder in which the prepared scans are kept.
        labels: What the numbers of a manifest's labels mean; folders tell it themselves.
        place: Random placement.
        gain: Each channel is multiplied by 1 and shifted by 0, up to this much.
        noise: Standard deviation of added noise, up to this much.

    Raises:
        NeuroprintError: There is nothing to learn from or to validate on, the labels do not tell the regions, a modality
            is missing, or the scans are phantoms that are kept for evaluation.
    """

    spec: InputSpec
    root: str | Path
    seed: int
    validation_share: float
    size: Sequence[int]
    cache: str | Path
    labels: LabelConvention = "any"
    place: DeformSettings = field(default_factory=DeformSettings)
    gain: float = 0.2
    noise: float = 0.1

    def __post_init__(self) -> None:
        check_size(self.size, self.spec.divisor)
        if not 0 < self.validation_share < 1:
            raise NeuroprintError(f"learn_from.validation_share={self.validation_share}: must be between 0 and 1")
        try:
            convention_of(self.labels)
        except NeuroprintError as error:
            raise NeuroprintError(f"learn_from.{error}") from error
        _refuse_evaluation_phantoms(self._cohort)
        labeled = [case for side in self._split for case in side]
        if not all(tells_parts(case.label_convention) for case in labeled):
            raise NeuroprintError(
                f"learn_from.labels={self.labels}: {Path(self.root).name} does not say what its labels' numbers mean; "
                f"learn_from.labels={conventions_that_tell()} does"
            )
        self.spec.for_cohort(sorted({name for case in labeled for name in case.images}) if labeled else ())
        self._require(*self._split)

    @property
    def identity(self) -> dict[str, Any]:
        kept_ = ("seed", "validation_share", "labels", "gain", "noise")
        return {
            "scans": self._cohort.digest,
            "split": _SALT,
            **{name: getattr(self, name) for name in kept_},
            "size": list(self.size),
            "place": asdict(self.place),
        }

    @property
    def learned_from(self) -> frozenset[str]:
        digests = self._cohort.digests
        return frozenset(mark(content) for case in self._usable[0] for content in digests[case.id].each.values())

    def ready(self) -> None:
        """Read and prepare every scan; those that cannot be used are named and left out."""
        self._require(*self._usable)

    def example(self, number: int) -> Example:
        rng = np.random.default_rng([self.seed, number])
        cases = self._usable[0]
        image, regions = self._prepared(cases[shuffled(self.seed, len(cases), number)])
        placed = deform(torch.cat([image, regions]), self.size, self.place, rng)
        image, truth = placed[:-_REGIONS], of_like_volume(placed[-_REGIONS:])
        inside = image != 0
        factor = torch.from_numpy(rng.uniform(1 - self.gain, 1 + self.gain, (len(image), 1, 1, 1)).astype(np.float32))
        offset = torch.from_numpy(rng.uniform(-self.gain, self.gain, (len(image), 1, 1, 1)).astype(np.float32))
        noise = torch.from_numpy(rng.standard_normal(tuple(image.shape), dtype=np.float32))
        varied = image * factor + offset + float(self.noise * rng.random()) * noise
        return Example(varied * inside, truth.float())

    def validation(self) -> Iterator[Example]:
        return (widened(self._prepared(case), self.spec.divisor) for case in self._usable[1])

    @cached_property
    def _cohort(self) -> Cohort:
        root = Path(self.root)
        cohort = ManifestFormat(root, self.labels).cohort() if ManifestFormat.recognizes(root) else recognize(root)
        for case, problem in cohort.excluded.items():
            log.warning("left out: case %s: %s", case, problem)
        return replace(cohort, digest_cache=Path(self.cache) / "digests.sqlite")

    @cached_property
    def _split(self) -> tuple[list[Case], list[Case]]:
        """Cases to learn from and to validate on; a patient's are all on one side."""
        labeled = [case for case in self._cohort.cases if case.label is not None]
        learn = [case for case in labeled if not _for_validation(case.patient, self.validation_share)]
        return learn, [case for case in labeled if _for_validation(case.patient, self.validation_share)]

    @cached_property
    def _usable(self) -> tuple[list[Case], list[Case]]:
        """The split, less the scans that cannot be read."""
        from tqdm import tqdm

        bar = tqdm(total=sum(map(len, self._split)), desc="preparing", unit="scan", dynamic_ncols=True)
        with bar:
            learn, validate = ([case for case in side if self._can_be_prepared(case, bar)] for side in self._split)
            return learn, validate

    def _can_be_prepared(self, case: Case, bar: Any) -> bool:
        try:
            self._prepared(case)
        except CaseError as error:
            log.warning("left out: %s", error)
            return False
        finally:
            bar.update()
        return True

    def _prepared(self, case: Case) -> Example:
        # Everything that a prepared scan depends on, beside the cohort's files, is in the specification.
        name = f"{case.id}-{digest(asdict(self.spec))[:16]}.npz"
        return kept(Path(self.cache) / f"scans-{self._cohort.digest[:16]}" / name, partial(self._read, case))

    def _read(self, case: Case) -> Example:
        volume = read_volume(case, self.spec.modalities)
        if volume.label is None:
            raise CaseError(case.id, "it has no label to learn from")
        box = brain_box(volume.images)
        image = prepare(list(volume.images), volume.affine, box, self.spec).image
        regions = prepare_regions(volume.label, case.label_convention, volume.affine, box, self.spec)
        return Example(torch.from_numpy(image), torch.from_numpy(regions))

    def _require(self, learn: Sequence[Case], validate: Sequence[Case]) -> None:
        if not learn or not validate:
            raise NeuroprintError(
                f"{Path(self.root).name}: {len(learn)} labeled cases to learn from and {len(validate)} to validate on; "
                "at least one of each is needed: change learn_from.validation_share, or add cases"
            )


def _for_validation(patient: str, share: float) -> bool:
    return int.from_bytes(hashlib.sha256(f"{_SALT}\0{patient}".encode()).digest()[:6], "big") / 2.0**48 < share


def _refuse_evaluation_phantoms(cohort: Cohort) -> None:
    """Phantoms are told by the file that every phantom cohort has, whatever the manifest that names them.

    Raises:
        NeuroprintError: Some are of a seed that is kept for evaluation.
    """
    for folder in sorted({image.path.parent.parent for case in cohort.cases for image in case.images.values()}):
        file = folder / SETTINGS_FILE
        if not file.is_file():
            continue
        try:
            seed = int(json.loads(file.read_text(encoding="utf-8"))["seed"])
        except (ValueError, KeyError, TypeError):
            raise NeuroprintError(
                f"{file.parent.name}: phantoms whose {SETTINGS_FILE} does not tell their seed are not learned from; "
                f"those of seeds from {FIRST_TRAINING_SEED} on are: learn_from=phantom"
            ) from None
        refuse_evaluation_seed(seed)
