"""Raw scans on the command line: ``neuroprint prepare``, and ``--prepare`` where a case is put to a bundle."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    from neuroprint.bundle.bundle import Bundle
    from neuroprint.catalog.menu import Catalog
    from neuroprint.prepare.batch import Outcome
    from neuroprint.prepare.template import BrainTemplate


def takes_raw_scans(command: argparse.ArgumentParser) -> None:
    """Give a command ``--prepare`` and what belongs to it."""
    command.add_argument(
        "--prepare", action="store_true", help="the cases are raw scans: lay them on the bundle's template first"
    )
    takes_series(command)


def takes_series(command: argparse.ArgumentParser) -> None:
    """Give a command ``--series``."""
    command.add_argument(
        "--series",
        action="append",
        default=[],
        metavar="NAME=PATTERN",
        help="which series is t1, t1ce, t2, flair or label, where names and headers leave it open: 't1=*MPRAGE*'",
    )


def prepare_scans(options: argparse.Namespace) -> int:
    """``neuroprint prepare``."""
    from tqdm import tqdm

    from neuroprint.catalog.menu import Catalog
    from neuroprint.prepare.batch import QUALITY_PAGE, prepare_all
    from neuroprint.prepare.examination import find_examinations

    chosen = _chosen_series(options.series)
    template = _template(options.like, Catalog(options.folders))
    examinations = find_examinations(options.source.expanduser(), chosen)
    with tqdm(total=len(examinations), desc="preparing", unit="case", dynamic_ncols=True) as bar:

        def show(outcome: Outcome) -> None:
            because = f" ({'; '.join(outcome.reasons)})" if outcome.reasons else ""
            bar.write(f"{outcome.verdict}: {outcome.id}{because}{', kept' if outcome.kept else ''}", file=sys.stdout)
            bar.update()

        outcomes = prepare_all(examinations, options.out, template, options.affine, options.workers, show)
    counts = Counter(outcome.verdict for outcome in outcomes)
    said = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
    print(
        f"{said}; laid on {template.name} ({template.patients} patients); look at {options.out / 'CASE' / QUALITY_PAGE}"
    )
    return 1 if counts["failed"] else 0


@contextmanager
def as_prepared(
    options: argparse.Namespace, bundle: Bundle, cases: Sequence[Path]
) -> Iterator[tuple[Sequence[Path], Sequence[Outcome]]]:
    """Folders of the cases as the bundle wants them, and with ``--prepare``, for as long as they are needed, what was made.

    Raises:
        NeuroprintError: One could not be prepared, or is several examinations.
    """
    if not options.prepare:
        yield cases, ()
        return
    from tempfile import TemporaryDirectory

    from neuroprint.prepare.batch import prepare_all
    from neuroprint.prepare.examination import find_examinations

    chosen = _chosen_series(options.series)
    examinations = [examination for case in cases for examination in find_examinations(case.expanduser(), chosen)]
    if len(examinations) != len(cases):
        raise NeuroprintError(
            f"found {len(examinations)} examinations in {len(cases)} folders, expected one in each: name their folders"
        )

    def say(outcome: Outcome) -> None:
        because = f" ({'; '.join(outcome.reasons)})" if outcome.reasons else ""
        print(f"prepared, {outcome.verdict}: {outcome.id}{because}", file=sys.stderr)

    with TemporaryDirectory(prefix="neuroprint-prepared-") as folder:
        outcomes = prepare_all(examinations, Path(folder), bundle.template, progress=say)
        if failed := [outcome for outcome in outcomes if outcome.verdict == "failed"]:
            raise NeuroprintError(f"case {failed[0].id}: could not be prepared: {'; '.join(failed[0].reasons)}")
        by_id = {outcome.id: outcome for outcome in outcomes}
        yield [Path(folder) / one.id for one in examinations], [by_id[one.id] for one in examinations]


def _chosen_series(given: Sequence[str]) -> dict[str, str]:
    """What ``--series`` says, by modality.

    Raises:
        NeuroprintError: It is not of the form NAME=PATTERN, or names one twice.
    """
    pairs = [text.partition("=") for text in given]
    for text, (name, equals, pattern) in zip(given, pairs, strict=True):
        if not equals or not pattern or [pair[0] for pair in pairs].count(name) > 1:
            raise NeuroprintError(f"--series {text}: expected NAME=PATTERN, each name once, such as 't1=*MPRAGE*'")
    return {name: pattern for name, _, pattern in pairs}


def _template(like: Path | None, catalog: Catalog) -> BrainTemplate:
    """What scans are to be laid on: a bundle's template, the mean T1 of a cohort, or MNI's."""
    from neuroprint.data.load import recognize, store_folder
    from neuroprint.prepare.template import cohort_template, mni_template

    if like is None:
        return mni_template()
    if (like / "bundle.json").is_file():
        from neuroprint.bundle.bundle import Bundle

        return Bundle.open(like).template
    return cohort_template(recognize(like, catalog), store_folder() / "templates")
