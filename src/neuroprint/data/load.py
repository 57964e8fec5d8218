"""Loading a cohort by the name of its dataset format."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from neuroprint.catalog.instantiate import instantiate, plain
from neuroprint.catalog.menu import Catalog
from neuroprint.data.case import Case
from neuroprint.data.cohort import Cohort, Duplicates
from neuroprint.data.formats.pattern import guessed_patterns
from neuroprint.data.formats.tree import niftis_below
from neuroprint.data.patients import patients_in_doubt
from neuroprint.errors import CaseError, NeuroprintError

if TYPE_CHECKING:
    from neuroprint.catalog.gate import Gate
    from neuroprint.data.formats import DatasetFormat

log = logging.getLogger(__name__)


def load_cohort(
    dataset: str | Mapping[str, Any],
    root: str | Path | None = None,
    *,
    store: str | Path | None = None,
    catalog: Catalog | None = None,
    gate: Gate | None = None,
    **settings: Any,
) -> Cohort:
    """Find the cases of a dataset; no voxel is read yet.

    Args:
        dataset: An entry of conf/dataset: ``brats``, ``msd``, ``bids``, ``pattern``, ``manifest``, ``phantom`` ...; or
            such an entry's content, which says all by itself.
        root: Folder or file of the dataset. Phantoms, which are written where they are missing, have a folder by default.
        store: Folder of the feature store, in which the digests of files are remembered; by default that of
            :func:`store_folder`.
        catalog: The menu; by default conf/.
        gate: For a format that comes from elsewhere, what it may name.
        settings: Further keys of the entry: ``strict`` (stop at the first case that cannot be used), ``duplicates``
            (``refuse`` or ``allow`` one image under two patients), ``labels``, or the ``cases`` and ``seed`` of phantoms.

    Raises:
        NeuroprintError: There is no such format or dataset, or none of its cases can be used.
        CaseError: With ``strict``, the first case that cannot be used.

    Example:
        >>> load_cohort("phantom", cases=3, spacing_mm=8.0)
        Cohort(phantom: 3 cases of 3 patients)
    """
    given = settings if root is None else {"root": str(root), **settings}
    if isinstance(dataset, str):
        node = (catalog or Catalog()).node("dataset", dataset, **given)
    elif given:
        raise NeuroprintError(f"dataset: {', '.join(given)} can be given with the name of an entry only")
    else:
        node = plain(dataset)
    node = {"strict": False, "duplicates": "refuse", **node}
    if "reader" not in node:
        raise NeuroprintError(f"dataset: its entry has no reader: expected one with _target_ (found {', '.join(node)})")
    if node["duplicates"] not in get_args(Duplicates):
        raise NeuroprintError(
            f"dataset.duplicates={node['duplicates']}: must be one of {', '.join(get_args(Duplicates))}"
        )
    described = dict(node["reader"])
    if "root" in described:
        described["root"] = str(described["root"])  # YAML reads the name of a folder such as 2021 as a number
    reader: DatasetFormat = instantiate(described, "dataset", gate)
    try:
        cohort = reader.cohort()
    except CaseError:
        raise
    except NeuroprintError as error:
        raise NeuroprintError(f"{error}{_hint(described, catalog)}") from error
    name = str(node.get("name", cohort.name))
    if not cohort.cases:
        hint = _hint(described, catalog)
        shown = list(cohort.excluded.items())[: 1 if hint else 3]
        reasons = "; ".join(f"{case}: {problem}" for case, problem in shown)
        raise NeuroprintError(f"dataset={name}: none of its cases can be used ({reasons}){hint}")
    for case, problem in cohort.excluded.items():
        if node["strict"]:
            raise CaseError(case, problem)
        log.warning("left out: case %s: %s", case, problem)
    for case, doubt in patients_in_doubt(cohort.cases).items():
        log.warning("case %s: %s", case, doubt)
    return replace(
        cohort,
        name=name,
        format=described,
        strict=bool(node["strict"]),
        duplicates=node["duplicates"],
        digest_cache=store_folder(store) / "digests.sqlite",
    )


def recognize(path: Path, catalog: Catalog | None = None) -> Cohort:
    """The cohort at a path, by the first dataset format that recognizes it; BraTS's, which takes any folder, comes last.

    Raises:
        NeuroprintError: No format recognizes the path, or the dataset cannot be read.
    """
    path = path.expanduser()
    found = next((reader for _, reader in _readers(path, catalog) if reader.recognizes(path)), None)
    if found is None:
        names = ", ".join(name for name, _ in _readers(path, catalog))
        raise NeuroprintError(f"{path}: there is no such folder or table; expected one of {names}")
    try:
        return found.cohort()
    except CaseError:
        raise
    except NeuroprintError as error:
        raise NeuroprintError(f"{error}{_hint({'root': str(path)}, catalog)}") from error


def read_case(path: Path, modalities: Sequence[str], first: DatasetFormat | None = None) -> Case:
    """The case at a path, by the first of neuroprint's dataset formats that finds all it needs there.

    Args:
        path: A folder or file.
        modalities: Those that are needed.
        first: The format that is asked before the others.

    Raises:
        CaseError: There is a case, but it cannot be used.
        NeuroprintError: There is no case.
    """
    errors: list[NeuroprintError] = []
    for reader, place in _asked(path, first):
        try:
            case = reader.case(place, modalities)
        except NeuroprintError as error:
            errors.append(error)
            continue
        if set(modalities) <= set(case.images):
            return case
        absent = ", ".join(name for name in modalities if name not in case.images)
        errors.append(CaseError(case.id, f"has no {absent} image, which is needed; add it"))
    raise next((error for error in errors if isinstance(error, CaseError)), errors[0])


def _asked(path: Path, first: DatasetFormat | None) -> Iterator[tuple[DatasetFormat, Path]]:
    """Which formats are asked for a single case, and where; each is made when those before it have not found it."""
    if first:
        yield from ((first, place) for place in (path, *_only_image(path)))
    named = dict(_readers(path, None))
    # BraTS's comes first, since its words are plainest; the Decathlon's last: any one file may be a case of it.
    yield from ((named[name], path) for name in sorted(named, key=lambda name: (name == "msd", name != "brats", name)))


def _only_image(path: Path) -> tuple[Path, ...]:
    """The one image in a folder, which may be the case itself, as those of the Decathlon are."""
    images = list(islice(niftis_below(path), 2)) if path.is_dir() else []
    return tuple(images) if len(images) == 1 else ()


def _readers(path: Path, catalog: Catalog | None) -> Iterator[tuple[str, DatasetFormat]]:
    """The formats that need no more than a path, by name; BraTS's comes last."""
    menu = catalog or Catalog()
    for name in sorted(menu.names("dataset"), key=lambda name: (name == "brats", name)):
        with suppress(NeuroprintError):  # a format that needs more than a path is no candidate
            yield name, instantiate(menu.node("dataset", name, root=str(path))["reader"], "dataset")


def _hint(described: Mapping[str, Any], catalog: Catalog | None) -> str:
    """Which formats would read what lies at the root, in a line; what a pattern would be where none does."""
    root = Path(str(described.get("root", ""))).expanduser()
    if not root.is_dir():
        return ""
    names = [name for name, reader in _readers(root, catalog) if name != "brats" and reader.recognizes(root)]
    if names:
        return f";\nit looks like {' or '.join(f'dataset={name}' for name in names)} dataset.root={root}"
    sample = next(niftis_below(root), None)
    if sample is None:
        return ""
    guessed = guessed_patterns(root) or {"images": {"flair": "{patient}/{case}/FLAIR.nii*"}}
    settings = " ".join(f'"dataset.{key}={_written(value)}"' for key, value in guessed.items())
    return (
        f";\nfound {sample.relative_to(root)} and others: where names follow a rule, dataset=pattern reads them, such as by\n"
        f"dataset=pattern dataset.root={root} {settings};\na CSV of paths, dataset=manifest, reads anything"
    )


def _written(value: str | Mapping[str, str]) -> str:
    """A pattern, or those of several modalities, as the command line takes them."""
    if isinstance(value, str):
        return f"'{value}'"
    return "{" + ", ".join(f"{name}: '{pattern}'" for name, pattern in value.items()) + "}"


def store_folder(given: str | Path | None = None) -> Path:
    """Folder of the feature store: as given, else ``store`` in ``NEUROPRINT_CACHE``, by default in ``.neuroprint``."""
    return Path(given or Path(os.environ.get("NEUROPRINT_CACHE") or ".neuroprint") / "store").expanduser()
