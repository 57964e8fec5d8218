"""Embedding a cohort: each scan is read once and passes through each network once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuroprint.catalog.menu import Catalog
from neuroprint.data.load import store_folder
from neuroprint.embedding.embeddings import Embeddings, Scanned
from neuroprint.embedding.extraction import Extract
from neuroprint.embedding.precomputed import PrecomputedEncoder
from neuroprint.embedding.recipe import Recipe, menu_poolings, voxels_request
from neuroprint.embedding.shares import embedding_of, requests_of
from neuroprint.embedding.store import FeatureStore
from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    from neuroprint.data.cohort import Cohort


def embed(
    cohort: Cohort,
    encoder: Any = "swin_unetr_phantom",
    layer: int | str | Sequence[int | str] | None = None,
    pooling: Any = "mean",
    *,
    inferer: Any = "whole",
    precision: str = "fp32",
    device: str = "auto",
    perturb: Any = "none",
    store: FeatureStore | str | Path | None = None,
    catalog: Catalog | None = None,
) -> Embeddings:
    """Turn every scan of a cohort into a vector.

    All levels and all poolings of conf/pooling are computed in the one pass and kept in the feature store: another call with
    another layer or pooling reads no scan.

    Args:
        cohort: The cases.
        encoder: An entry of conf/encoder, a node with ``_target_``, or an encoder.
        layer: Number or name of the encoder's level, or a list of them; None is its default.
        pooling: An entry of conf/pooling, a node, or a function ``(features, brain) -> vector``, see
            :mod:`neuroprint.embedding.poolings`.
        inferer: An entry of conf/inferer, a node, or an inferer.
        precision: ``fp32``, ``tf32`` or ``bf16``.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` ...
        perturb: How query scans are changed: an entry of conf/perturb, a node, or a
            :class:`neuroprint.embedding.perturbations.Perturbation`. Scores are then those of asking with changed scans.
        store: Where features are kept: a folder, by default that of :func:`neuroprint.data.load.store_folder`.
        catalog: The menu; by default conf/.

    Raises:
        NeuroprintError: There is no such choice, or no case can be used.
        CaseError: Of a strict cohort, the first case that cannot be used.

    Example:
        >>> import neuroprint as npr
        >>> cohort = npr.load_cohort("phantom", cases=3, spacing_mm=8.0)
        >>> npr.embed(cohort, encoder="voxels")
        Embeddings(voxels · mean: 3 cases of 10240 numbers, compared by euclidean)
    """
    menu = catalog or Catalog()
    recipe = Recipe.of(
        menu.part("encoder", encoder),
        layer,
        menu.part("pooling", pooling),
        menu.part("inferer", inferer),
        precision,
        menu=menu_poolings(menu),
        perturb=menu.part("perturb", perturb),
    )
    return embed_by(recipe, cohort, _opened(store), device)


def embed_by(recipe: Recipe, cohort: Cohort, store: FeatureStore, device: str = "auto") -> Embeddings:
    """As :func:`embed`, by a recipe that is put together already.

    Raises:
        NeuroprintError: No case can be used.
        CaseError: Of a strict cohort, the first case that cannot be used.
    """
    encoder, change = recipe.encoder.made, recipe.perturbation
    check_perturbation(recipe, cohort)
    if isinstance(encoder, PrecomputedEncoder):
        return Embeddings(
            cohort,
            _of_cohort(encoder.vectors(), cohort),
            encoder.similarity,
            encoder.path.stem,
            recipe=recipe,
            store=store,
            device=device,
        )
    shares = recipe.shares(cohort.modalities)
    networks = requests_of(shares)
    clean = [*networks, voxels_request(cohort.modalities)]
    changed = [] if change is None else [request.changed(change) for request in clean]
    found = Extract(store, device)(cohort, [*clean, *changed])
    # Per request: the networks' and the voxels' of scans as they are, then the same of changed ones.
    own, own_changed = (slice(start, start + len(networks)) for start in (0, len(clean)))
    asked = [*range(len(networks)), *(range(own_changed.start, own_changed.stop) if changed else ())]
    whole = [case for case in found.facts if all(case in found.embeddings[place] for place in asked)]

    def joined(places: slice) -> dict[str, Any]:
        return {case: embedding_of(shares, [part[case] for part in found.embeddings[places]]) for case in whole}

    if not whole:
        reasons = "; ".join(f"{case}: {problem}" for case, problem in list(found.excluded.items())[:2])
        raise NeuroprintError(f"none of the {len(cohort)} cases can be embedded ({reasons})")
    return Embeddings(
        cohort,
        joined(own),
        recipe.similarity,
        f"{'' if recipe.trained else 'untrained · '}{recipe.layer} · {recipe.pooling.name}",
        excluded=found.excluded,
        recipe=recipe,
        scanned=Scanned(
            found.facts,
            found.embeddings[len(networks)],
            sum(found.forwards[place] for place in asked),
            min(found.cached[place] for place in asked),
            found.seconds,
            found.embeddings[-1] if changed else {},
        ),
        store=store,
        device=device,
        perturbed=joined(own_changed) if changed else None,
    )


def check_perturbation(recipe: Recipe, cohort: Cohort) -> None:
    """Refuse to change scans that are not read, or that cannot be changed so.

    Raises:
        NeuroprintError: Says which.
    """
    if recipe.perturbation is None:
        return
    if isinstance(recipe.encoder.made, PrecomputedEncoder):
        raise NeuroprintError(
            "perturb changes scans, and encoder=precomputed reads none: leave perturb out, or use npr.Embeddings with "
            "perturbed="
        )
    recipe.perturbation.check(cohort.modalities)


def embed_untrained(embeddings: Embeddings) -> Embeddings | None:
    """The same on seeded random weights; None where the encoder is not trained, is not known or has no such twin."""
    recipe = embeddings.recipe.untrained() if embeddings.recipe else None
    if recipe is None or embeddings.store is None:
        return None
    return embed_by(recipe, embeddings.cohort, embeddings.store, embeddings.device)


def scan(embeddings: Embeddings) -> Scanned:
    """What is measured on the scans of a cohort; read now where the embeddings were made without it.

    Raises:
        NeuroprintError: No case can be read.
    """
    if embeddings.scanned is not None:
        return embeddings.scanned
    cohort, store = embeddings.cohort, embeddings.store or _opened(None)
    found = Extract(store, embeddings.device)(cohort, [voxels_request(cohort.modalities)])
    return Scanned(found.facts, found.embeddings[0], 0, 0, found.seconds)


def _opened(store: FeatureStore | str | Path | None) -> FeatureStore:
    return store if isinstance(store, FeatureStore) else FeatureStore(store_folder(store))


def _of_cohort(vectors: Mapping[str, Any], cohort: Cohort) -> dict[str, Any]:
    """Those of a cohort's cases: a file may hold more."""
    found = {case.id: vectors[case.id] for case in cohort.cases if case.id in vectors}
    if not found:
        example = f"{next(iter(vectors))} ..." if vectors else "none"
        expected = f"expected {cohort.cases[0].id} ..., found {example}"
        raise NeuroprintError(f"encoder.path: its file holds no vector of the cohort's cases: {expected}")
    return found
