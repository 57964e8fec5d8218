"""What the card's scores look like on a page: the headline against its references, and the rest as figures."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from neuroprint.evaluation.metric import Metric

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_ROWS: Final = (
    ("holdout", "this index, patients kept out", "own"),
    ("sweep", "this index, in the sweep that chose it", "own"),
)
_KINDS: Final = {
    "knows": "what it knows",
    "confuses": "what it should not know: less is better",
    "bears": "what it bears: asked with changed scans",
}
_REFERENCES: Final = {
    "oracle": "the ideal ranking",
    "untrained": "same network, untrained",
    "voxels": "pixel-by-pixel comparison",
    "chance": "random order",
}


def score_table(scores: Mapping[str, Any], relevance: str) -> str:
    """HTML of a bundle's scores, each with its 95 % interval where it has one; a sentence where there is none.

    Args:
        scores: ``sweep`` and ``holdout``, metrics by name with bounds as ``NAME_lo`` and ``NAME_hi`` or None;
            ``references``, metrics by the name of the row; ``looks``, how often the hold-out had been looked at before;
            ``added``, cases that came after.
        relevance: What makes a case relevant, as the end of "a case ...".
    """
    metrics = {record["name"]: Metric(**record) for record in scores.get("metrics") or []}
    first = metrics.get(str(scores.get("headline")))
    if first is None or not scores.get("sweep"):
        return '<p class="note">This bundle says nothing of how good it is: take its answers with caution.</p>'
    references = scores.get("references") or {}
    rows = [(words, scores.get(name) or {}, kind) for name, words, kind in _ROWS]
    rows += [(words, references.get(name) or {}, "") for name, words in _REFERENCES.items()]
    ends = scale_ends(first, (metrics.get(name) for _, metrics, _ in rows for name in _names(first)))
    lines = [_line(first, words, metrics, kind, ends) for words, metrics, kind in rows]
    further = [metric for metric in metrics.values() if (metric.headline or metric.shown) and metric is not first]
    return (
        f"<table><thead><tr><th>{_head(first)}</th>"
        f'<th class="ends"><span>{_number(ends[0])}</span><span>{_number(ends[1])}</span></th><th></th></tr></thead>'
        f'<tbody>{"".join(lines)}</tbody></table>{_further(scores, further)}<p class="note">{_note(scores, relevance)}</p>'
        f"{profile_table(scores.get('profile') or [])}"
    )


def profile_table(profile: Sequence[Mapping[str, Any]]) -> str:
    """HTML of what an index can tell, beside pixel-by-pixel comparison and chance; empty where nobody asked.

    Args:
        profile: Records of :meth:`neuroprint.tasks.profile.Profile.records`, of one candidate and the reference rows.
    """
    if not profile:
        return ""
    told: dict[tuple[str, str, str], dict[str, str]] = {}
    for row in profile:
        at = str(row["kind"]), str(row["question"]), str(row["label"])
        who = "own" if row["role"] == "candidate" else str(row["name"])
        told.setdefault(at, {})[who] = str(row["told"])
    columns = {"own": "this index", **{name: _REFERENCES[name] for name in ("voxels", "chance")}}
    heads = "".join(f'<th class="figure">{html.escape(words)}</th>' for words in columns.values())
    body, last = [], ""
    for (kind, question, label), cells in sorted(told.items(), key=lambda item: list(_KINDS).index(item[0][0])):
        if kind != last:
            body.append(f'<tr><th scope="rowgroup" colspan="{len(columns) + 1}">{_KINDS[kind]}</th></tr>')
            last = kind
        figures = "".join(f'<td class="figure">{html.escape(cells.get(name, "–"))}</td>' for name in columns)
        words = html.escape(f"{question.replace('_', ' ')}: {label}")
        body.append(f'<tr><th scope="row">{words}</th>{figures}</tr>')
    table = f"<table><thead><tr><th></th>{heads}</tr></thead><tbody>{''.join(body)}</tbody></table>"
    return f"<h3>What this index can tell</h3>{table}"


def scale_ends(metric: Metric, values: Iterable[float | None]) -> tuple[float, float]:
    """Ends of the scale that a metric is drawn on: its natural bounds, or round numbers around zero and the values.

    Args:
        metric: The metric. What has no unit and lies between 0 and 1 is drawn from 0 to 1.
        values: All that is drawn; None where there is none.
    """
    drawn = [float(value) for value in values if value is not None and math.isfinite(value)]
    low, high = min([0.0, *drawn]), max([0.0 if metric.unit else 1.0, *drawn])
    step = 10.0 ** math.floor(math.log10((high - low) or 1.0)) / 2
    bounds = (metric.lowest, metric.highest)
    rounded = (math.floor(low / step) * step, math.ceil(high / step) * step or step)
    found = [end if bound is None else bound for bound, end in zip(bounds, rounded, strict=True)]
    return found[0], found[1]


def _names(metric: Metric) -> tuple[str, str, str]:
    return metric.name, f"{metric.name}_lo", f"{metric.name}_hi"


def _head(metric: Metric) -> str:
    unit = f", {metric.unit}" if metric.unit else ""
    return html.escape(f"{metric.label}{unit}" + (f" ({metric.direction})" if metric.lower_is_better else ""))


def _number(value: float) -> str:
    return f"{value:g}".replace("-", "−")


def _note(scores: Mapping[str, Any], relevance: str) -> str:
    said = [f"A case is relevant to a query {html.escape(relevance)}."] if relevance else []
    if any(record.get("confound") for record in scores.get("metrics") or []):
        said.append("The figures say how much the index tells of a confound: the less, the better.")
    if scores.get("holdout"):
        said.append("The first row is what to expect of a new patient: those patients took no part in the choice.")
        looks = scores.get("looks") or {}
        if looks.get("before"):
            said.append(f"They had been looked at {int(looks['before'])} times before, which makes the row less sure.")
    else:
        said.append("No patients were kept out: the index was chosen by these very figures, which are thus too good.")
    if added := scores.get("added"):
        said.append(f"{len(added)} case(s) joined the gallery since; the scores are those of the gallery before.")
    return " ".join([*said, "Intervals: 95 %, over patients."])


def _line(metric: Metric, words: str, metrics: Mapping[str, Any], kind: str, ends: tuple[float, float]) -> str:
    value, low, high = (metrics.get(name) for name in _names(metric))
    if value is None:
        return ""

    def place(number: float) -> float:
        return min(max(100 * (number - ends[0]) / (ends[1] - ends[0]), 0.0), 100.0)

    def printed(number: float) -> str:
        return f"{number:.{metric.decimals}f}".replace("-", "−")

    interval, bounds = "", ""
    if low is not None and high is not None:
        interval = f'<i style="left:{place(low):.1f}%;width:{place(high) - place(low):.1f}%"></i>'
        bounds = f"<small>{printed(low)} to {printed(high)}</small>"
    style = "scale" if kind else "scale reference"
    return (
        f'<tr class="{kind}"><th scope="row">{html.escape(words)}</th>'
        f'<td><div class="{style}">{interval}<b style="left:{place(value):.1f}%"></b></div></td>'
        f'<td class="figure">{printed(value)}{bounds}</td></tr>'
    )


def _further(scores: Mapping[str, Any], shown: Sequence[Metric]) -> str:
    sides = {"kept out": scores.get("holdout") or {}, "in the sweep": scores.get("sweep") or {}}
    sides = {name: metrics for name, metrics in sides.items() if metrics}
    rows = []
    for metric in shown:
        if any(metrics.get(metric.name) is not None for metrics in sides.values()):
            cells = "".join(f'<td class="figure">{_figure(metrics, metric)}</td>' for metrics in sides.values())
            unit = f", {metric.unit}" if metric.unit else ""
            rows.append(f'<tr><th scope="row">{html.escape(metric.label)}{unit}</th>{cells}</tr>')
    if not rows:
        return ""
    heads = "".join(f'<th class="figure">{name}</th>' for name in sides)
    return f"<table><thead><tr><th></th>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _figure(metrics: Mapping[str, Any], metric: Metric) -> str:
    form = "{:.0f}" if metric.unit else "{:.2f}"
    value, low, high = (metrics.get(f"{metric.name}{end}") for end in ("", "_lo", "_hi"))
    if value is None:
        return "–"
    bounds = "" if low is None or high is None else f"<small>{form.format(low)} to {form.format(high)}</small>"
    return form.format(value) + bounds
