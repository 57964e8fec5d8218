"""Loading a cohort by the name of its dataset format."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from neuroprint.catalog.instantiate import instantiate, plain
from neuroprint.catalog.menu import Catalog
from neuroprint.data.cohort import Cohort, Duplicates
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
        dataset: An entry of conf/dataset: ``brats``, ``msd``, ``manifest``, ``phantom`` or ``phantom_clinic``; or such an
            entry's content, which says all by itself.
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
    cohort = reader.cohort()
    name = str(node.get("name", cohort.name))
    for case, problem in cohort.excluded.items():
        if node["strict"]:
            raise CaseError(case, problem)
        log.warning("left out: case %s: %s", case, problem)
    if not cohort.cases:
        reasons = "; ".join(f"{case}: {problem}" for case, problem in list(cohort.excluded.items())[:3])
        raise NeuroprintError(f"dataset={name}: none of its cases can be used ({reasons})")
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
    menu, path = catalog or Catalog(), path.expanduser()
    names = sorted(menu.names("dataset"), key=lambda name: (name == "brats", name))
    for name in names:
        with suppress(NeuroprintError):  # a format that needs more than a path is no candidate
            node = menu.node("dataset", name, root=str(path))
            reader: DatasetFormat = instantiate(node["reader"], "dataset")
            if reader.recognizes(path):
                break
    else:
        raise NeuroprintError(f"{path}: there is no such folder or table; expected one of {', '.join(names)}")
    return reader.cohort()


def store_folder(given: str | Path | None = None) -> Path:
    """Folder of the feature store: as given, else ``store`` in ``NEUROPRINT_CACHE``, by default in ``.neuroprint``."""
    return Path(given or Path(os.environ.get("NEUROPRINT_CACHE") or ".neuroprint") / "store").expanduser()
