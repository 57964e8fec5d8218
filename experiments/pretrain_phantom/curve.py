"""Draw the training curve of a store's trainings, one stage after the other, and write down what they took.

python experiments/pretrain_phantom/curve.py --stages 1 2 3 4
python experiments/pretrain_phantom/curve.py --first 5 --out fifth      the store holds later stages only
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd

from neuroprint.tracking.store import TrackingStore

HERE = Path(__file__).parent
DICE = {"whole_tumor": "whole tumor", "tumor_core": "core", "enhancing": "enhancing"}
METRICS = {"train/loss": "loss", **{f"validation/dice_{region}": name for region, name in DICE.items()}}
COLORS = ("#4477aa", "#ee6677", "#228833")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mlruns", type=Path, nargs="+", default=[Path("mlruns")], help="one or several")
    parser.add_argument(
        "--stages", type=int, nargs="+", help="which trainings, in the order in which they were started"
    )
    parser.add_argument("--first", type=int, default=1, help="number of the first of them (default: %(default)s)")
    parser.add_argument(
        "--out", default="", help="into curve_OUT.png and training_OUT.md, beside those of other stages"
    )
    options = parser.parse_args()
    end_of_name = f"_{options.out}" if options.out else ""
    stores = [TrackingStore(root, "training") for root in options.mlruns]
    runs = [(run, store) for store in stores for run in store.search("tags.role = 'training'")]
    runs.sort(key=lambda pair: pair[0].info.start_time)
    chosen = [runs[number - 1] for number in options.stages or range(1, len(runs) + 1)]
    stages = [history(store, run.info.run_id) for run, store in chosen]
    draw(stages, HERE / f"curve{end_of_name}.png")
    ends = [stage.iloc[-1] for stage in stages]
    lines = [
        "| stage | steps | seconds a step | loss at the end | validation Dice at the end: whole tumor, core, enhancing |",
        "| --- | --- | --- | --- | --- |",
    ]
    for number, (stage, end) in enumerate(zip(stages, ends, strict=True), start=options.first):
        dice = ", ".join(f"{end[name]:.3f}" for name in DICE.values())
        pace = (stage["seconds"].iloc[-1] - stage["seconds"].iloc[0]) / (stage.index[-1] - stage.index[0])
        lines.append(f"| {number} | {stage.index[-1]} | {pace:.1f} | {end['loss']:.3f} | {dice} |")
    (HERE / f"training{end_of_name}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def history(store: TrackingStore, run: str) -> pd.DataFrame:
    """A row per validation, by step."""
    found = {name: store.client.get_metric_history(run, metric) for metric, name in METRICS.items()}
    table = pd.DataFrame({name: {point.step: point.value for point in points} for name, points in found.items()})
    # Trainings of older versions did not log their seconds: of them the clock has to do, pauses included.
    spent = {point.step: point.value for point in store.client.get_metric_history(run, "train/seconds")}
    table["seconds"] = pd.Series(spent or {point.step: point.timestamp / 1000 for point in found["loss"]})
    return table.sort_index()


def draw(stages: list[pd.DataFrame], out: Path) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    start = 0
    for number, stage in enumerate(stages):
        steps = stage.index + start
        left.plot(steps, stage["loss"], color=COLORS[0], marker=".")
        for name, color in zip(DICE.values(), COLORS, strict=True):
            right.plot(steps, stage[name], color=color, marker=".", label=name if number == 0 else None)
        start += int(stage.index[-1])
        for axes in (left, right) if number + 1 < len(stages) else ():
            axes.axvline(start, color="0.6", linestyle=":")
            axes.annotate(" next stage", (start, 0.02), xycoords=("data", "axes fraction"), color="0.4", fontsize=8)
    left.set(xlabel="step", ylabel="loss, mean of 100 steps", ylim=(0, None))
    right.set(xlabel="step", ylabel="Dice, validation phantoms", ylim=(0, 1))
    right.legend(frameon=False, loc="lower right")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
    figure.savefig(out, dpi=150)


if __name__ == "__main__":
    main()
