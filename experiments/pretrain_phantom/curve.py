"""Draw the training curve of the newest finished training, and write down what it took and where it ended.

python experiments/pretrain_phantom/curve.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from neuroprint.tracking.store import TrackingStore

HERE = Path(__file__).parent
DICE = {"whole_tumor": "whole tumour", "tumor_core": "core", "enhancing": "enhancing"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mlruns", type=Path, default=Path("mlruns"))
    options = parser.parse_args()
    store = TrackingStore(options.mlruns, "training")
    found = store.search("tags.role = 'training' and attributes.status = 'FINISHED'", most=1)[0]
    run = found.info.run_id

    def history(name: str) -> tuple[list[int], list[float]]:
        points = sorted(store.client.get_metric_history(run, name), key=lambda point: point.step)
        return [point.step for point in points], [point.value for point in points]

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    left.plot(*history("train/loss"), color="#4477aa", marker=".")
    left.set(xlabel="step", ylabel="loss (mean of the last 100 steps)", ylim=(0, None))
    for (region, name), colour in zip(DICE.items(), ("#4477aa", "#ee6677", "#228833"), strict=True):
        right.plot(*history(f"validation/dice_{region}"), color=colour, marker=".", label=name)
    right.set(xlabel="step", ylabel="Dice, validation phantoms", ylim=(0, 1))
    right.legend(frameon=False, loc="lower right")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
    figure.savefig(HERE / "curve.png", dpi=150)
    hours = (found.info.end_time - found.info.start_time) / 3_600_000
    ends = [f"{history(f'validation/dice_{region}')[1][-1]:.3f}" for region in DICE]
    table = [
        f"| steps | hours | loss at the end | Dice of the validation phantoms: {', '.join(DICE.values())} |",
        "| --- | --- | --- | --- |",
        f"| {history('train/loss')[0][-1]} | {hours:.2f} | {history('train/loss')[1][-1]:.3f} | {', '.join(ends)} |",
    ]
    (HERE / "training.md").write_text("\n".join(table) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
