"""``card.md``: what a bundle is, how good it is, and what it is not for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SHOWN = {
    "retrieval/p_at_5": "precision at 5",
    "retrieval/map": "mean average precision",
    "retrieval/ndcg_at_10": "nDCG at 10",
    "retrieval/auc": "retrieval AUC",
    "retrieval/dist_mm_at_5": "distance of the five nearest, mm",
    "probe/r2": "R² of the center of mass",
    "probe/error_mm": "error of the center of mass, mm",
}
_REFERENCES = ("chance", "voxels", "untrained", "oracle")


def write_card(name: str, cohort: Mapping[str, Any], scores: Mapping[str, Any], projection: str, weights: str) -> str:
    """The card as Markdown.

    Args:
        name: The configuration's.
        cohort: ``dataset``, ``fingerprint``, ``gallery`` (cases), ``patients``, ``excluded``, ``frame``, ``relevance`` (a
            sentence), ``metadata`` (columns), ``seen_in_training`` (cases).
        scores: As ``scores.json`` holds them.
        projection: What the projection is, and whether it has seen the tumors' positions.
        weights: Where the encoder's weights are.
    """
    metadata = ", ".join(cohort["metadata"]) or "none"
    seen = cohort["seen_in_training"]
    return "\n".join(
        [
            f"# {name}",
            "",
            "A search index of brain MRI: it turns a scan into a fingerprint and finds the cases of its gallery whose",
            "fingerprints are most similar.",
            "",
            "## How good it is",
            *_scores(scores),
            "",
            "A relevant case is one of another fold and patient " + cohort["relevance"] + ".",
            "Brackets hold 95 % bootstrap intervals over patients, conditional on gallery and fits.",
            "Raw precision depends on the cohort's size and spread: figures from other cohorts compare by the AUC only.",
            "",
            "## Hold-out",
            *_holdout(scores),
            "",
            "## Cohort",
            f"- {cohort['dataset']} (fingerprint {cohort['fingerprint'][:16]}): a gallery of {cohort['gallery']} cases of "
            f"{cohort['patients']} patients; {cohort['excluded']} cases were left out of what is scored.",
            f"- Positions are in mm in the frame `{cohort['frame']}`: x grows to the patient's right, y to the front, z up.",
            f"- Metadata columns: {metadata}.",
            f"- Projection: {projection}.",
            f"- Weights: {weights}.",
            *(
                [f"- The encoder has learned from {seen} of these cases, which flatters the scores above."]
                if seen
                else []
            ),
            "",
            "## Intended use",
            "Research: finding comparable cases in a collection, and comparing fingerprints. It is no medical device, and is",
            "not to be used for diagnosis, prognosis or any decision about a patient's treatment.",
            "",
            "## Limits",
            "- It was measured on the cohort above only. Other scanners, sequences, preprocessing or kinds of tumor may be",
            "  beyond it; a query that is unlike anything in the gallery is said to be so, by a threshold and not by proof.",
            "- How good a vote of neighbors is, which similarity is usual, and what is unlike the gallery, was measured on",
            "  the gallery's own cases, each put to the other folds by a projection that was fitted on those alone.",
            "- Similar means similar in what was scored above, the tumor's place first of all; not similar in outcome.",
            "- A query needs the same modalities, on one grid, skull-stripped or not as the gallery was.",
            "- Its gallery's pictures and measures come from the patients' scans: who may see those may see the bundle.",
            "",
            "## How to query",
            "```",
            "neuroprint query THIS_FOLDER CASE_FOLDER -k 5 [--report page.html]",
            "```",
            "",
        ]
    )


def _scores(scores: Mapping[str, Any]) -> list[str]:
    sweep, holdout, references = scores["sweep"], scores["holdout"] or {}, scores["references"]
    rows = [role for role in _REFERENCES if role in references]
    lines = [
        "| | sweep | " + ("hold-out | " if holdout else "") + " | ".join(rows) + " |",
        "| --- | --- | " + ("--- | " if holdout else "") + " | ".join("---" for _ in rows) + " |",
    ]
    for metric, text in _SHOWN.items():
        if metric in sweep:
            cells = [_cell(sweep, metric), *([_cell(holdout, metric)] if holdout else [])]
            cells += [_cell(references[role], metric, bare=True) for role in rows]
            lines.append(f"| {text} | " + " | ".join(cells) + " |")
    return lines


def _holdout(scores: Mapping[str, Any]) -> list[str]:
    looks = scores["looks"]
    if scores["holdout"] is None:
        return [
            f"{scores['no_holdout']}: the sweep's scores are those that this configuration was chosen by, and flatter it."
        ]
    optimism = scores["optimism"].get("retrieval/p_at_5")
    said = [f"{int(scores['holdout']['cohort/cases'])} cases took no part in the sweep and were scored at export."]
    if optimism:
        value, low, high = optimism
        said.append(
            f"Optimism, sweep minus hold-out at equal gallery size, of precision at 5: {value:.3f} [{low:.3f}, {high:.3f}]."
        )
    before = looks["before"]
    if before:
        times, by = ("once" if before == 1 else f"{before} times"), looks["configurations_before"]
        said.append(
            f"This hold-out has been looked at {times} before (by {by} configuration{'s' if by > 1 else ''}): the more "
            "looks, the less it is unseen."
        )
    else:
        said.append("This hold-out has been looked at 0 times before.")
    return said


def _cell(metrics: Mapping[str, float], metric: str, bare: bool = False) -> str:
    if metric not in metrics:
        return "–"
    digits = 1 if "_mm" in metric else 3
    low, high = metrics.get(f"{metric}_lo"), metrics.get(f"{metric}_hi")
    interval = "" if bare or low is None or high is None else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{metrics[metric]:.{digits}f}{interval}"
