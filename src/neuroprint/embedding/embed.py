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
from neuroprint.embedding.recipe import Recipe, join, menu_poolings, voxels_request
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
    )
    return embed_by(recipe, cohort, _opened(store), device)


def embed_by(recipe: Recipe, cohort: Cohort, store: FeatureStore, device: str = "auto") -> Embeddings:
    """As :func:`embed`, by a recipe that is put together already.

    Raises:
        NeuroprintError: No case can be used.
        CaseError: Of a strict cohort, the first case that cannot be used.
    """
    encoder = recipe.encoder.made
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
    requests = recipe.requests(cohort.modalities)
    found = Extract(store, device)(cohort, [*requests, voxels_request(cohort.modalities)])
    *own, voxels = found.embeddings
    vectors = {case: join([part[case] for part in own]) for case in found.facts if all(case in part for part in own)}
    if not vectors:
        reasons = "; ".join(f"{case}: {problem}" for case, problem in list(found.excluded.items())[:2])
        raise NeuroprintError(f"none of the {len(cohort)} cases can be embedded ({reasons})")
    return Embeddings(
        cohort,
        vectors,
        recipe.similarity,
        f"{'' if recipe.trained else 'untrained · '}{recipe.layer} · {recipe.pooling.name}",
        excluded=found.excluded,
        recipe=recipe,
        scanned=Scanned(found.facts, voxels, sum(found.forwards[:-1]), min(found.cached[:-1]), found.seconds),
        store=store,
        device=device,
    )


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
