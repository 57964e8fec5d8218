"""What the card's scores look like on a page: the headline against its references, and the rest as figures."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_HEADLINE: Final = "retrieval/p_at_5"
_ROWS: Final = (
    ("holdout", "this index, patients kept out", "own"),
    ("sweep", "this index, in the sweep that chose it", "own"),
)
_REFERENCES: Final = {
    "oracle": "true position as the fingerprint",
    "untrained": "same network, untrained",
    "voxels": "pixel-by-pixel comparison",
    "chance": "random order",
}
_FURTHER: Final = (
    ("retrieval/map", "mean average precision", "{:.2f}"),
    ("retrieval/auc", "a relevant case ranks above another (AUC)", "{:.2f}"),
    ("retrieval/dist_mm_at_5", "distance of the five nearest, mm", "{:.0f}"),
    ("probe/error_mm", "error of the predicted position, mm", "{:.0f}"),
    ("probe/r2", "R² of the predicted position", "{:.2f}"),
)


def score_table(scores: Mapping[str, Any], retrieval: Mapping[str, Any]) -> str:
    """HTML of a bundle's scores, each with its 95 % interval where it has one; a sentence where there is none.

    Args:
        scores: ``sweep`` and ``holdout``, metrics by name with bounds as ``NAME_lo`` and ``NAME_hi`` or None;
            ``references``, metrics by the name of the row; ``looks``, how often the hold-out had been looked at before;
            ``added``, cases that came after.
        retrieval: The run's configuration of it, which says what counts as relevant.
    """
    headline = "".join(_line(name, words, scores.get(name) or {}, kind) for name, words, kind in _ROWS)
    references = scores.get("references") or {}
    headline += "".join(_line(name, words, references.get(name) or {}, "") for name, words in _REFERENCES.items())
    if not headline:
        return '<p class="note">This bundle says nothing of how good it is: take its answers with caution.</p>'
    return (
        '<table><thead><tr><th colspan="3">share of relevant cases among the first five</th></tr></thead>'
        f'<tbody>{headline}</tbody></table>{_further(scores)}<p class="note">{_note(scores, retrieval)}</p>'
    )


def _note(scores: Mapping[str, Any], retrieval: Mapping[str, Any]) -> str:
    relevant = {
        "distance": f"its tumor's center lies within {retrieval.get('radius_mm', 0):g} mm of the query's",
        "side": "its tumor lies in the same hemisphere",
        "overlap": "the tumors overlap",
        "metadata": f"it has the same {retrieval.get('column')}",
    }.get(str(retrieval.get("relevance")))
    said = [f"A case is relevant if {html.escape(relevant)}."] if relevant else []
    if scores.get("holdout"):
        said.append("The first row is what to expect of a new patient: those patients took no part in the choice.")
        looks = scores.get("looks") or {}
        if looks.get("before"):
            said.append(f"They had been looked at {int(looks['before'])} times before, which makes the row less sure.")
    else:
        said.append("No patients were kept out: the index was chosen by these very figures, which are thus too good.")
    if added := scores.get("added"):
        said.append(f"{len(added)} case(s) joined the gallery since; the scores are those of the gallery before.")
    return " ".join([*said, "Intervals: 95 %, over query patients."])


def _line(name: str, words: str, metrics: Mapping[str, Any], kind: str) -> str:
    value = metrics.get(_HEADLINE)
    if value is None:
        return ""
    low, high = (metrics.get(f"{_HEADLINE}_{end}") for end in ("lo", "hi"))
    interval, bounds = "", ""
    if low is not None and high is not None:
        interval = f'<i style="left:{100 * low:.1f}%;width:{100 * (high - low):.1f}%"></i>'
        bounds = f"<small>{low:.2f} to {high:.2f}</small>"
    style = "scale" if kind else "scale reference"
    return (
        f'<tr class="{kind}"><th scope="row">{html.escape(words)}</th>'
        f'<td><div class="{style}">{interval}<b style="left:{100 * value:.1f}%"></b></div></td>'
        f'<td class="figure">{value:.2f}{bounds}</td></tr>'
    )


def _further(scores: Mapping[str, Any]) -> str:
    sides = {"kept out": scores.get("holdout") or {}, "in the sweep": scores.get("sweep") or {}}
    sides = {name: metrics for name, metrics in sides.items() if metrics}
    rows = []
    for metric, words, form in _FURTHER:
        if any(metrics.get(metric) is not None for metrics in sides.values()):
            cells = "".join(f'<td class="figure">{_figure(metrics, metric, form)}</td>' for metrics in sides.values())
            rows.append(f'<tr><th scope="row">{words}</th>{cells}</tr>')
    if not rows:
        return ""
    heads = "".join(f'<th class="figure">{name}</th>' for name in sides)
    return f"<table><thead><tr><th></th>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _figure(metrics: Mapping[str, Any], metric: str, form: str) -> str:
    value, low, high = (metrics.get(f"{metric}{end}") for end in ("", "_lo", "_hi"))
    if value is None:
        return "–"
    bounds = "" if low is None or high is None else f"<small>{form.format(low)} to {form.format(high)}</small>"
    return form.format(value) + bounds
