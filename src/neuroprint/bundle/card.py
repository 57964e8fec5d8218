"""``card.md``: what a bundle is, how good it is, and what it is not for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuroprint.bundle.embedder import COPIED_BELOW, weights_files
from neuroprint.evaluation.metric import SHARE, Metric

if TYPE_CHECKING:
    from neuroprint.embedding.recipe import Recipe

_REFERENCES = ("chance", "voxels", "untrained", "oracle")


def write_card(about: Mapping[str, Any], scores: Mapping[str, Any]) -> str:
    """The card as Markdown.

    Args:
        about: ``name``, ``dataset``, ``cohort`` (its digest), ``gallery`` (cases), ``patients``, ``excluded``, ``frame``,
            ``relevance`` (the end of "a case ..."), ``metadata`` (columns), ``projection`` and ``weights`` (in words), and,
            where it is known, ``seen_in_training`` (cases).
        scores: As ``scores.json`` holds them; empty where nothing was scored.
    """
    metadata = ", ".join(about["metadata"]) or "none"
    seen = about.get("seen_in_training", 0)
    return "\n".join(
        [
            f"# {about['name']}",
            "",
            "A search index of brain MRI: it turns a scan into a fingerprint and finds the cases of its gallery whose",
            "fingerprints are most similar.",
            "",
            "## How good it is",
            *_how_good(about, scores),
            "",
            "## Cohort",
            f"- {about['dataset']} (digest {about['cohort'][:16]}): a gallery of {about['gallery']} cases of "
            f"{about['patients']} patients; {about['excluded']} cases were left out.",
            f"- Positions are in mm in the frame `{about['frame']}`: x grows to the patient's right, y to the front, z up.",
            f"- Metadata columns: {metadata}.",
            f"- Projection: {about['projection']}.",
            f"- Weights: {about['weights']}.",
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
            "  beyond it; a query that is unlike anything in the gallery is said to be so: by a test, not by proof.",
            "- How good a vote of neighbors is, and which similarity is usual, was measured on the gallery's own cases, each",
            "  put to the other folds by a projection that was fitted on those alone.",
            "- A query is called unlike the gallery if at most 5 % of the gallery's patients lie as far from the others, by",
            "  their images and embeddings. With fewer than 20 patients this is never said.",
            "- Similar means similar in what was scored above; not similar in outcome.",
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


def about_weights(recipe: Recipe) -> str:
    """Where the weights of a recipe's encoders are, in words."""
    if not recipe.trained:
        return "random, drawn by a seed: this is a baseline"
    said = [
        f"{Path(weights.source).name}, SHA-256 {weights.sha256}, "
        + (
            "in the bundle"
            if weights.path.stat().st_size < COPIED_BELOW
            else "not in the bundle: give it with --weights"
        )
        for weights in weights_files(recipe)
    ]
    return "; ".join(said) or "none"


def _how_good(about: Mapping[str, Any], scores: Mapping[str, Any]) -> list[str]:
    if not scores.get("sweep"):
        return ["It was not scored: take its answers with caution."]
    return [
        *_table(scores),
        "",
        *_of_confound(scores),
        f"A relevant case is one of another fold and patient {about['relevance']}.",
        f"{scores['cases']['queries']} of {scores['cases']['sweep']} cases are queries to which there is one. Brackets hold",
        "95 % intervals over patients, who are query and gallery at once; they are conditional on what is fitted.",
        "Raw precision depends on the cohort's size and spread: figures from other cohorts compare by the AUC only.",
        "",
        "## Hold-out",
        *_holdout(scores),
    ]


def _of_confound(scores: Mapping[str, Any]) -> list[str]:
    if not any(record.get("confound") for record in scores["metrics"]):
        return []
    return [
        "These figures say how much the index tells of a confound: chance is the best, and oracle tells all of it.",
        "They do not say what the index finds.",
    ]


def _table(scores: Mapping[str, Any]) -> list[str]:
    sweep, holdout, references = scores["sweep"], scores["holdout"] or {}, scores["references"]
    rows = [role for role in _REFERENCES if role in references]
    lines = [
        "| | sweep | " + ("hold-out | " if holdout else "") + " | ".join(rows) + " |",
        "| --- | --- | " + ("--- | " if holdout else "") + " | ".join("---" for _ in rows) + " |",
    ]
    for record in scores["metrics"]:
        metric = Metric(**record)
        if metric.name in sweep and not metric.name.endswith(SHARE):
            cells = [_cell(sweep, metric), *([_cell(holdout, metric)] if holdout else [])]
            cells += [_cell(references[role], metric, bare=True) for role in rows]
            unit = f", {metric.unit}" if metric.unit else ""
            way = f", {metric.direction}" if metric.confound else ""
            lines.append(f"| {metric.label}{unit}{way} | " + " | ".join(cells) + " |")
    return lines


def _holdout(scores: Mapping[str, Any]) -> list[str]:
    looks = scores["looks"]
    if scores["holdout"] is None:
        return [
            f"{scores['no_holdout']}: the sweep's scores are those that this configuration was chosen by, and flatter it."
        ]
    headline = scores["headline"]
    optimism = scores["optimism"].get(headline)
    label = next((record["label"] for record in scores["metrics"] if record["name"] == headline), headline)
    said = [f"{scores['cases']['holdout']} cases took no part in the sweep and were scored at export."]
    if optimism:
        value, low, high = optimism
        said.append(
            f"Optimism, sweep minus hold-out at equal gallery size, of {label}: {value:.3f} [{low:.3f}, {high:.3f}]."
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


def _cell(metrics: Mapping[str, float], metric: Metric, bare: bool = False) -> str:
    if metric.name not in metrics:
        return "–"
    digits = 1 if metric.unit else 3
    low, high = metrics.get(f"{metric.name}_lo"), metrics.get(f"{metric.name}_hi")
    interval = "" if bare or low is None or high is None else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{metrics[metric.name]:.{digits}f}{interval}"
