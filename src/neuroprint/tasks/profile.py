"""The profile: what a few fingerprints know, what they confuse and what they bear, on one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from neuroprint.evaluation.robustness import KEPT, SELF_METRICS
from neuroprint.tasks.leaderboard import REFERENCES, UNTRAINED, Leaderboard, cell

if TYPE_CHECKING:
    import pandas as pd

    from neuroprint.evaluation.metric import Metric

KNOWS, CONFUSES, BEARS = "knows", "confuses", "bears"
"""Of tasks; of confounds, which a good fingerprint does not know; of perturbations."""
HEADS = {
    KNOWS: ("What it knows: precision at 5", "What it knows: R², AUC or concordance of the probe"),
    CONFUSES: (
        "What it should not know (less is better): precision at 5",
        "What it should not know (less is better): AUC",
    ),
    BEARS: (
        "What it bears: share of precision that changed scans keep",
        "What it bears: own clean scan is the nearest",
    ),
}
"""Of questions by kind: of what fingerprints find, and of what they tell."""
_WORDS = {
    KNOWS: "what it knows",
    CONFUSES: "what it should not know: less is better",
    BEARS: "what it bears, asked with changed scans",
}
FINDS, TELLS = "finds", "tells"
"""By retrieval; and by the probe, or by finding the own clean scan."""
_SHOWN_REFERENCES = (UNTRAINED, *REFERENCES)
_PROBE = "probe/"


@dataclass(frozen=True, eq=False)
class Profile:
    """Scores of the same fingerprints in several leaderboards.

    Attributes:
        table: A row a fingerprint, question and way (``finds`` or ``tells``): ``question``, ``kind`` (``knows``, ``confuses``
            or ``bears``), ``way``, ``name``, ``role``, ``run_id``, ``metric``, ``label``, ``value`` with ``lo`` and ``hi``,
            and ``share``: how much of it is there, from 0 at chance to 1 at the ideal.

    Example:
        >>> import neuroprint as npr
        >>> cohort = npr.load_cohort("phantom", cases=12, spacing_mm=8.0)
        >>> voxels = npr.embed(cohort, encoder="voxels")
        >>> boards = {task: npr.compare([npr.evaluate(voxels, task)]) for task in ("tumor_position", "side")}
        >>> profile = Profile.of(boards, {"0": "voxels"})
        >>> profile.questions
        ['tumor_position', 'side']
        >>> profile.names
        ['voxels', 'chance', 'oracle']
        >>> profile.of_run(["0"]).records()[0]["label"]
        'precision at 5'
        >>> print(profile.to_markdown().splitlines()[0])
        | what it knows | by | voxels | *chance* | *oracle* |
    """

    table: pd.DataFrame

    @classmethod
    def of(cls, boards: Mapping[str, Leaderboard], names: Mapping[str, str]) -> Profile:
        """Put leaderboards together.

        Args:
            boards: By what is asked, in words.
            names: What the candidates are called here, by ``run_id``: a fingerprint has one name in all leaderboards.
        """
        import pandas as pd

        rows = [row for question, board in boards.items() for row in _rows(question, board, names)]
        return cls(pd.DataFrame(rows))

    @property
    def questions(self) -> list[str]:
        """What was asked: tasks, then confounds, then perturbations."""
        return [
            str(name) for kind in HEADS for name in dict.fromkeys(self.table["question"][self.table["kind"] == kind])
        ]

    @property
    def names(self) -> list[str]:
        """The fingerprints, the references behind them."""
        found = list(dict.fromkeys(self.table.loc[self.table["role"] == "candidate", "name"]))
        return found + [role for role in _SHOWN_REFERENCES if role in set(self.table["name"]) - set(found)]

    def to_markdown(self) -> str:
        """A table for each kind of question: a line a question and way, a column a fingerprint, with 95 % intervals."""
        parts = []
        for kind, head in _WORDS.items():
            own = self.table[self.table["kind"] == kind]
            if own.empty:
                continue
            candidates = set(self.table.loc[self.table["role"] == "candidate", "name"])
            heads = [name if name in candidates else f"*{name}*" for name in self.names]
            lines = [f"| {head} | by | {' | '.join(heads)} |", "| --- " * (len(heads) + 2) + "|"]
            for (question, label), cells in own.groupby(["question", "label"], sort=False):
                told = {str(row["name"]): str(row["told"]) for row in cells.to_dict("records")}
                lines.append(f"| {question} | {label} | {' | '.join(told.get(name, '–') for name in self.names)} |")
            parts.append("\n".join(lines))
        return "\n\n".join(parts) + "\n"

    def records(self) -> list[dict[str, Any]]:
        """A dictionary a row, JSON-able; what is not defined is left out."""
        import pandas as pd

        return [
            {str(key): value for key, value in row.items() if not pd.isna(value)}
            for row in self.table.to_dict("records")
        ]

    def of_run(self, run_ids: Sequence[str]) -> Profile:
        """Of one fingerprint, by its runs, beside the reference rows."""
        mine = self.table["run_id"].isin(list(run_ids)) | (self.table["role"] == "reference")
        return Profile(self.table[mine].reset_index(drop=True))


def _rows(question: str, board: Leaderboard, names: Mapping[str, str]) -> list[dict[str, Any]]:
    records = board.records()
    changed = KEPT.name in board.metrics
    kind = BEARS if changed else CONFUSES if board.metric.confound else KNOWS
    ways = {FINDS: board.metrics[KEPT.name] if changed else board.metric}
    told = board.metrics.get(SELF_METRICS[0].name) if changed else _told_by(board)
    if told is not None:
        ways[TELLS] = told
    found = []
    for way, metric in ways.items():
        chance, ideal = (_value_of(records, role, metric) for role in ("chance", "oracle"))
        for record in records:
            name = names.get(str(record["run_id"])) or str(record["name"])
            value = float(record.get(metric.name, np.nan))
            found.append(
                {
                    "question": question,
                    "kind": kind,
                    "way": way,
                    "name": name,
                    "role": record["role"],
                    "run_id": record["run_id"],
                    "metric": metric.name,
                    "label": metric.label,
                    "value": value,
                    "lo": record.get(f"{metric.name}_lo", np.nan),
                    "hi": record.get(f"{metric.name}_hi", np.nan),
                    "told": cell(record, metric),
                    "share": _share(value, chance, ideal, metric),
                }
            )
    return found


def _told_by(board: Leaderboard) -> Metric | None:
    """The first headline metric of the probe that has no unit: it is told without a scale."""
    headlines = [metric for name, metric in board.metrics.items() if name.startswith(_PROBE) and metric.headline]
    return next((metric for metric in headlines if not metric.unit), None)


def _value_of(records: Sequence[Mapping[str, Any]], role: str, metric: Metric) -> float:
    values = [
        float(row.get(metric.name, np.nan)) for row in records if (row["role"], row["name"]) == ("reference", role)
    ]
    return values[0] if values else np.nan


def _share(value: float, chance: float, ideal: float, metric: Metric) -> float:
    """Share of the way from chance to the ideal ranking, or to the metric's bound, at least 0 and at most 1."""
    if metric.name == KEPT.name:
        chance, ideal = 0.0, 1.0
    if not np.isfinite(ideal):
        ideal = 1.0 if metric.highest is None else metric.highest
    if not (np.isfinite(value) and np.isfinite(chance)) or ideal == chance:
        return np.nan
    return float(np.clip((value - chance) / (ideal - chance), 0.0, 1.0))
