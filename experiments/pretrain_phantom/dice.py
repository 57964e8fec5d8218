"""Dice of an encoder's decoder on scans it has never seen, as a table.

    python experiments/pretrain_phantom/dice.py                          128 phantoms of unseen seeds
    python experiments/pretrain_phantom/dice.py --spacing 3              the same patients, made on the network's own grid
    python experiments/pretrain_phantom/dice.py --real DIR               a folder of labeled scans, case by case

Real patients are numbered in the order of their ids, not named.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from tqdm import tqdm

import neuroprint as npr
from neuroprint.catalog.menu import Catalog
from neuroprint.data.case import Case
from neuroprint.data.load import recognize
from neuroprint.data.volume import read_volume
from neuroprint.embedding.extraction import resolve_device
from neuroprint.training.regions import regions_of
from neuroprint.training.score import dice_of_cases

HERE = Path(__file__).parent
COLUMNS = ("whole tumor", "core", "enhancing", "enhancing, specks kept")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", type=Path, metavar="DIR", help="a BraTS or MSD folder, or a manifest")
    parser.add_argument("--encoder", default="swin_unetr_phantom", help="default: %(default)s")
    parser.add_argument("--weights", help="other weights than the encoder's own")
    parser.add_argument("--cases", type=int, default=128, help="phantoms (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the phantoms (default: %(default)s)")
    parser.add_argument("--spacing", type=float, default=2.0, help="of the phantoms, mm (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="table to write (default: beside this script)")
    options = parser.parse_args()
    other = {"weights": options.weights, "sha256": None} if options.weights else {}
    encoder = Catalog().part("encoder", options.encoder, **other).made
    cohort = (
        recognize(options.real)
        if options.real
        else npr.load_cohort("phantom", cases=options.cases, spacing_mm=options.spacing, seed=options.seed)
    )
    scores = dice_of_cases(encoder, cohort.cases, resolve_device("auto"))
    dice = np.array(list(tqdm(scores, total=len(cohort.cases), unit="case")))
    table = by_patient(dice) if options.real else summary(dice, np.array([enhances(case) for case in cohort.cases]))
    made = "dice_phantoms.md" if options.spacing == 2.0 else f"dice_phantoms_{options.spacing:g}mm.md"
    out = options.out or HERE / ("dice_real.md" if options.real else made)
    out.write_text(table, encoding="utf-8")
    print(table)


def enhances(case: Case) -> bool:
    """Whether any of a case's tumor enhances."""
    volume = read_volume(case, sorted(case.images)[:1])
    return volume.label is not None and bool(regions_of(volume.label, case.label_convention)[-1].any())


def summary(dice: np.ndarray, enhancing: np.ndarray) -> str:
    """Mean, spread and worst of every region; of the core also by whether anything in it enhances."""
    lines = [
        f"| Dice, {len(dice)} phantoms | mean | median | 5th percentile | worst |",
        "| --- | --- | --- | --- | --- |",
    ]
    core = dice[:, COLUMNS.index("core")]
    parts = {"something enhances": core[enhancing], "nothing enhances": core[~enhancing]}
    rows = [*zip(COLUMNS, dice.T, strict=True)]
    rows += [(f"core of the {len(part)} in which {what}", part) for what, part in parts.items() if len(part)]
    for name, column in rows:
        numbers = (column.mean(), np.median(column), np.percentile(column, 5), column.min())
        lines.append(f"| {name} | {' | '.join(f'{number:.3f}' for number in numbers)} |")
    return "\n".join(lines) + "\n"


def by_patient(dice: np.ndarray) -> str:
    """A row a patient, and the mean."""
    lines = [f"| patient | {' | '.join(COLUMNS)} |", "| --- " * (len(COLUMNS) + 1) + "|"]
    rows = [(str(number), row) for number, row in enumerate(dice, start=1)]
    for name, row in (*rows, ("**mean**", dice.mean(axis=0)), ("worst", dice.min(axis=0))):
        lines.append(f"| {name} | {' | '.join(f'{value:.2f}' for value in row)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
