"""What do 5, 10 or 18 labeled patients of one's own buy? Fine-tune in five folds by patient, score out of fold.

    python experiments/fine_tuning/run.py FOLDER [--steps 300] [--work FOLDER]

FOLDER holds labeled BraTS cases. For each fold and each number of patients the default encoder is trained on with
``neuroprint train learn_from=scans`` on patients of the other folds, and then segments and embeds. A query is of the
fold that its network has not seen; its gallery is of the other folds, of whom the network has seen the labels, as it is
when a clinic tunes on the archive that it searches. Weights stay in the work folder. What is finished is not trained again.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

import neuroprint as npr
from neuroprint.catalog.menu import Catalog
from neuroprint.data.case import Case
from neuroprint.data.cohort import Cohort
from neuroprint.data.load import recognize
from neuroprint.embedding.extraction import resolve_device
from neuroprint.evaluation.folds import assign_folds
from neuroprint.training.score import dice_of_cases
from neuroprint.training.train import train

HERE = Path(__file__).resolve().parent
FOLDS, SEED = 5, 0  # those of an evaluation's defaults: a fold's network is asked about that fold
SIZES = (5, 10, 18)
REGIONS = ("whole", "core", "enhancing")
FINGERPRINTS = {
    "stage2 · spatial_softmax": ("swin_unetr_phantom", "stage2", "spatial_softmax"),
    "segmented center": ("swin_unetr_phantom_decoder", "out", "center_of_mass"),
}
RESAMPLES = 2000
VALIDATION = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--steps", type=int, default=300, help="of each training (default: %(default)s)")
    parser.add_argument("--work", type=Path, default=Path(".neuroprint/fine_tuning"), help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=HERE / "fine_tuning.md", help="table to write")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    cohort = recognize(options.folder)
    folds = assign_folds([case.patient for case in cohort.cases], FOLDS, SEED)
    found = {"as shipped": scored(cohort, folds, [None] * FOLDS)}
    for size in SIZES:
        weights = [tuned(cohort, folds, fold, size, options) for fold in range(FOLDS)]
        found[f"{size} patients"] = scored(cohort, folds, weights)
    text = table(found, options.steps)
    options.out.write_text(text, encoding="utf-8")
    print(text)


def tuned(cohort: Cohort, folds: np.ndarray, fold: int, size: int, options: argparse.Namespace) -> Path:
    """Weights that were trained on patients outside of a fold; as many as there are, where there are fewer."""
    at_hand = [case for case, own in zip(cohort.cases, folds, strict=True) if own != fold]
    learn = np.random.default_rng([SEED, fold]).permutation(len(at_hand))[:size]
    root = options.work / f"fold{fold}-{size}"
    for place in learn:
        case = at_hand[place]
        link = root / case.id
        if not link.exists():
            root.mkdir(parents=True, exist_ok=True)
            link.symlink_to(next(iter(case.images.values())).path.parent.resolve())
    return train(
        [
            "encoder=swin_unetr_phantom",
            "learn_from=scans",
            f"learn_from.root={root}",
            f"learn_from.validation_share={VALIDATION}",
            f"recipe.steps={options.steps}",
            "recipe.learning_rate=2e-4",
            f"recipe.validate_every={options.steps}",
            f"tracking.root={options.work}/mlruns",
            f"cache={options.work}/cache",
            f"out={root}.safetensors",
        ]
    )


def scored(cohort: Cohort, folds: np.ndarray, weights: Sequence[Path | None]) -> pd.DataFrame:
    """A row a patient, each by the network of its own fold: Dice, and of every fingerprint precision at 5 and prediction."""
    parts = []
    for fold, file in enumerate(weights):
        other = {"weights": str(file), "sha256": None} if file else {}
        cases = [case for case, own in zip(cohort.cases, folds, strict=True) if own == fold]
        rows = pd.DataFrame({"case": [case.id for case in cases], **dict(dices(cases, other))}).set_index("case")
        for name, (encoder, layer, pooling) in FINGERPRINTS.items():
            node = {**Catalog().node("encoder", encoder), **other}
            embeddings = npr.embed(cohort, node, layer, pooling)
            result = npr.evaluate(embeddings, "tumor_position", folds=FOLDS, seed=SEED, holdout=0, permutations=0)
            queries = result.evaluation.queries.set_index("case")
            told = [column for column in queries if column.startswith(("predicted_", "true_", "baseline_"))]
            asked = queries.loc[rows.index, [*told, "p_at_5"]]
            rows = rows.join(asked.add_prefix(f"{name}|"))
        parts.append(rows)
    return pd.concat(parts)


def dices(cases: Sequence[Case], other: dict[str, str | None]) -> Iterator[tuple[str, np.ndarray]]:
    """Dice of every region, by case."""
    encoder = Catalog().part("encoder", "swin_unetr_phantom", **other).made
    found = np.array(list(dice_of_cases(encoder, cases, resolve_device("auto"))))
    yield from zip(REGIONS, found.T, strict=False)


def numbers(rows: pd.DataFrame) -> dict[str, float]:
    """The means over patients, and R² of the centers."""
    told = {f"Dice, {region}": rows[region].mean() for region in REGIONS}
    for name in FINGERPRINTS:
        predicted, true, baseline = (
            rows[sorted(column for column in rows if column.startswith(f"{name}|{kind}_"))].to_numpy(float)
            for kind in ("predicted", "true", "baseline")
        )
        told[f"{name}: R²"] = 1 - ((predicted - true) ** 2).sum() / ((baseline - true) ** 2).sum()
        told[f"{name}: precision at 5"] = rows[f"{name}|p_at_5"].mean()
    return told


def table(found: dict[str, pd.DataFrame], steps: int) -> str:
    """Each number with a 95 % percentile bootstrap over patients, and what it gains on the shipped weights, paired."""
    shipped, *tuned_ = found
    draws = np.random.default_rng(SEED).integers(len(found[shipped]), size=(RESAMPLES, len(found[shipped])))
    drawn = {name: pd.DataFrame([numbers(rows.iloc[draw]) for draw in draws]) for name, rows in found.items()}
    told = {name: numbers(rows) for name, rows in found.items()}
    heads = [shipped, *(f"{name}: {what}" for name in tuned_ for what in ("", "gain"))]
    lines = [
        f"Written by run.py: {len(found[shipped])} patients, {FOLDS} folds, {steps} steps a training.",
        "",
        f"| out of fold | {' | '.join(head.removesuffix(': ') for head in heads)} |",
        "| --- " * (len(heads) + 1) + "|",
    ]
    for key in told[shipped]:
        cells = [span(told[shipped][key], drawn[shipped][key])]
        for name in tuned_:
            gain = span(told[name][key] - told[shipped][key], drawn[name][key] - drawn[shipped][key], "+")
            cells += [span(told[name][key], drawn[name][key]), gain]
        lines.append(f"| {key} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def span(value: float, draws: pd.Series, sign: str = "") -> str:
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return f"{value:{sign}.2f} [{low:{sign}.2f}, {high:{sign}.2f}]"


if __name__ == "__main__":
    main()
