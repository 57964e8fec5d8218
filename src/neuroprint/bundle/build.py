"""Making a bundle of embeddings, or of a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from neuroprint.bundle.card import about_weights, write_card
from neuroprint.bundle.embedder import check_recipe, write_embedder
from neuroprint.bundle.format import TEMPLATE_FILE, write_bundle
from neuroprint.bundle.gallery import Gallery, Placing, cases_table, pictures_of, write_gallery
from neuroprint.bundle.index import leave_fold_out
from neuroprint.bundle.projection import apply_steps, save_steps, steps_of, why_not
from neuroprint.catalog.gate import Gate
from neuroprint.catalog.menu import Catalog, Part
from neuroprint.catalog.redaction import redact
from neuroprint.data.case import Case
from neuroprint.embedding.embed import scan
from neuroprint.embedding.precomputed import PrecomputedEncoder
from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.benchmark import Protocol
from neuroprint.evaluation.metric import known
from neuroprint.evaluation.projection import clipped, fit_projection, is_supervised
from neuroprint.prepare.template import BrainTemplate, cohort_template
from neuroprint.tasks.evaluate import sweep_cases
from neuroprint.tasks.result import Result

if TYPE_CHECKING:
    from neuroprint.data.cohort import Cohort
    from neuroprint.embedding.embeddings import Embeddings
    from neuroprint.tasks.pictures import MapMethod


def build_bundle(
    source: Embeddings | Result,
    folder: Path,
    projection: Part | None = None,
    *,
    similarity: str | None = None,
    holdout: str | float = "auto",
    scores: Mapping[str, Any] | None = None,
    about: Mapping[str, Any] | None = None,
    config: str = "",
    map_method: MapMethod = "tsne",
    perplexity: float | None = None,
    gate: Gate | None = None,
) -> int:
    """Write a bundle; see :meth:`neuroprint.bundle.bundle.Bundle.build`.

    Args:
        source: Embeddings; or a result, whose projection, similarity, hold-out and scores are then the bundle's.
        folder: Where the bundle is to be.
        projection: Unfitted, for embeddings.
        similarity: For embeddings, in the place of their own.
        holdout: For embeddings, the share of the patients that stays out of the gallery.
        scores: What ``scores.json`` holds, in the place of what the result has.
        about: What else the manifest and the card say: ``name``, ``run_id``, ``seen_in_training``.
        config: The configuration as YAML, for people.
        map_method: How the gallery's map is made.
        perplexity: Of a t-SNE map.
        gate: What a bundle may name.

    Returns:
        Size of the gallery, in cases.

    Raises:
        NeuroprintError: The place is taken by something else, or the recipe or the projection cannot be kept in a bundle; or
            a result is given together with what it has itself.
    """
    result = source if isinstance(source, Result) else None
    if result is not None:
        _refuse_for_a_result(
            projection=projection, similarity=similarity, holdout=None if holdout == "auto" else holdout
        )
    embeddings = result.embeddings if result else source
    if isinstance(embeddings, Result):  # told apart above
        raise TypeError(type(embeddings))
    projection = result.projection if result else projection
    recipe = embeddings.recipe
    if recipe is None or isinstance(recipe.encoder.made, PrecomputedEncoder):
        raise NeuroprintError(
            f"{embeddings.name}: embeddings that were made elsewhere cannot be exported: a bundle has to embed new scans"
        )
    check_recipe(recipe, gate or Gate())
    if projection is not None and (problem := why_not(projection.made)):
        raise NeuroprintError(f"projection={projection.name}: {problem}")
    facts = scan(embeddings).facts
    share = result.holdout if result else holdout
    cohort = embeddings.cohort
    there = set(embeddings.ids)
    cases = [case for case in sweep_cases(cohort, share) if case.id in there and case.id in facts]
    cases.sort(key=lambda case: case.id)
    vectors = embeddings.rows([case.id for case in cases])
    targets = _targets(result, cases)
    steps = _fitted(projection, vectors, targets, cases)
    compared = result.similarity if result else similarity or embeddings.similarity
    protocol = result.benchmark.protocol if result else Protocol()
    neighborhoods, quantiles = leave_fold_out(
        vectors,
        targets,
        [case.patient for case in cases],
        None if projection is None else projection.made,
        similarity=compared,
        folds=protocol.folds,
        seed=protocol.seed,
    )
    placing = _placing(result, cohort.frame)
    projected = apply_steps(steps, vectors)
    gallery = Gallery(
        table=cases_table(cases, [facts[case.id] for case in cases], placing),
        embeddings=vectors.astype(np.float32),
        projected=projected,
        map_xy=_map(projected, map_method, protocol.seed, perplexity),
        pictures=[pictures_of(facts[case.id]) for case in cases],
        neighborhoods=neighborhoods,
        quantiles=quantiles,
    )
    known_scores = scores or (scores_of(result) if result else {})
    told = {"name": result.name if result else _name(embeddings, projection), **(about or {})}
    manifest = {
        "name": told["name"],
        "run_id": told.get("run_id", ""),
        "similarity": compared,
        "position": {"region": placing.region, "weighting": placing.weighting, "frame": placing.frame},
        "relevance": result.task.sought if result else "",
        "dataset": {"name": cohort.name, "reader": redact(dict(cohort.format)) if cohort.format else None},
        "fitted": any(step.array is not None for step in steps),
    }
    card = write_card(
        {
            **told,
            "dataset": cohort.name,
            "cohort": cohort.digest,
            "gallery": len(cases),
            "patients": len({case.patient for case in cases}),
            "excluded": len(result.excluded) if result else len(cohort.excluded) + len(embeddings.excluded),
            "frame": placing.frame,
            "relevance": manifest["relevance"],
            "metadata": sorted({column for case in cases for column in case.metadata}),
            "projection": _words(projection),
            "weights": about_weights(recipe),
        },
        known_scores,
    )

    def fill(unfinished: Path) -> None:
        (unfinished / "config.yaml").write_text(config, encoding="utf-8")
        (unfinished / "card.md").write_text(card, encoding="utf-8")
        write_embedder(unfinished, recipe, cohort.modalities)
        save_steps(unfinished, steps)
        write_gallery(unfinished, gallery, known_scores)
        if (template := _template(cohort, cases)) is not None:
            template.save(unfinished / TEMPLATE_FILE)

    write_bundle(folder, manifest, fill)
    return len(cases)


def scores_of(result: Result) -> dict[str, Any]:
    """What ``scores.json`` holds of a result that has not been scored on a hold-out."""
    return {
        "metrics": result.queries.attrs.get("metrics", []),
        "sweep": dict(result.metrics),
        "cases": {"sweep": result.evaluation.cases, "queries": result.evaluation.answerable},
        "holdout": None,
        "no_holdout": "The hold-out was not scored" if result.holdout else "There is no hold-out (its share is 0)",
        "optimism": {},
        "looks": None,
        "references": {role: dict(found.metrics) for role, found in result.references.items()},
        "headline": result.task.rank_by,
        "profile": [],
    }


def _template(cohort: Cohort, cases: Sequence[Case]) -> BrainTemplate | None:
    """The gallery's mean T1, on which raw scans are laid; None of few patients, or where scans lie in no common space."""
    if cohort.frame != "world":
        return None
    gallery = {case.id for case in cases}
    try:
        return cohort_template(cohort.where(lambda case: case.id in gallery))
    except NeuroprintError:
        return None


def part_of_projection(projection: Any, catalog: Catalog | None = None) -> Part | None:
    """A projection as it may be given: None, a name, a node, or a transformer."""
    return None if projection is None else (catalog or Catalog()).part("projection", projection)


def _refuse_for_a_result(**given: Any) -> None:
    """A result has these itself: others would not be those that it was scored with."""
    if there := [name for name, value in given.items() if value is not None]:
        raise NeuroprintError(f"{', '.join(there)}: the result has its own, which the bundle takes; leave this out")


def _targets(result: Result | None, cases: list[Case]) -> npt.NDArray[np.float64]:
    """(n, targets) of the gallery's cases; NaN where the task was not asked."""
    if result is None:
        return np.full((len(cases), 1), np.nan)
    question = result.benchmark.question
    row = {case: place for place, case in enumerate(question.ids)}
    missing = np.full(question.targets.shape[1], np.nan)
    return np.array([question.targets[row[case.id]] if case.id in row else missing for case in cases])


def _fitted(
    projection: Part | None, vectors: npt.NDArray[np.float32], targets: npt.NDArray[np.float64], cases: list[Case]
) -> list[Any]:
    """The projection fitted on the gallery; a supervised one on those of its cases that have a target."""
    if projection is None:
        return []
    supervised = is_supervised(projection.made)
    rows = np.flatnonzero(known(targets)) if supervised else np.arange(len(cases))
    if not len(rows):
        raise NeuroprintError(
            f"projection={projection.name} is fitted to a task's targets: give Bundle.build the result of an evaluation"
        )
    wide = vectors[rows].astype(np.float64)
    made = clipped(projection.made, min(wide.shape))
    patients = [cases[row].patient for row in rows]
    return steps_of(fit_projection(made, wide, targets[rows] if supervised else None, patients))


def _placing(result: Result | None, frame: Any) -> Placing:
    own = result.task.parameters() if result else {}
    chosen = own.get("frame", "auto")
    return Placing(
        region=own.get("region", "whole_tumor"),
        weighting=own.get("weighting", "binary"),
        frame=frame if chosen == "auto" else chosen,
    )


def _map(
    projected: npt.NDArray[np.float32], method: MapMethod, seed: int, perplexity: float | None
) -> npt.NDArray[np.float32]:
    from neuroprint.figures.map import embed_2d

    return embed_2d(projected, method, seed, perplexity).astype(np.float32)


def _words(projection: Part | None) -> str:
    if projection is None or projection.name == "none":
        return "none"
    made = projection.made
    size = made.get_params().get("n_components") if hasattr(made, "get_params") else None
    said = (
        f"{projection.name}{f' of at most {size} components' if isinstance(size, int) else ''}, fitted on the gallery"
    )
    return f"{said}, and to the task's targets" if is_supervised(made) else said


def _name(embeddings: Embeddings, projection: Part | None) -> str:
    return embeddings.name if projection is None else f"{embeddings.name} · {projection.name}"
