"""The 2-D map of the cohort: where the embeddings lie, colored by where the tumors lie."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.perplexity import allowed_perplexity
from neuroprint.figures.body_axes import BODY_AXES, BodyAxis, Floats, as_centers, color_limits
from neuroprint.figures.style import (
    GRAY,
    INK,
    SMALL,
    WIDTH_INCHES,
    marker_area,
    new_figure,
    place,
    shorten,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.figure import Figure

Points = NDArray[np.float64]
_NEIGHBORS = 15
_COMPONENTS_BEFORE = 50
_LARGE_COHORT = 500
# Between panels, and below them for the colors' scale and the footnote.
_GAP_INCHES, _HEAD_INCHES, _FOOT_INCHES = 0.14, 0.5, 0.8
_PANEL_INCHES = (WIDTH_INCHES - 4 * _GAP_INCHES) / 3
_HEIGHT_INCHES = _FOOT_INCHES + _PANEL_INCHES + _HEAD_INCHES


def embed_2d(
    embeddings: Floats, method: Literal["tsne", "umap", "pca"], seed: int, perplexity: float | None = None
) -> Points:
    """Lay embeddings out in two dimensions, for the eye only. The same input and seed give the same points.

    t-SNE is van der Maaten and Hinton (2008), UMAP is McInnes et al. (2018), both started from the principal components
    (Kobak and Linderman, 2021) and both with their neighborhoods clipped to what a small cohort has. Fewer than three
    cases are laid out by principal components; embeddings that are all equal fall on the origin.

    Args:
        embeddings: (n, d) array of finite numbers.
        method: ``tsne``, ``umap`` or ``pca``.
        seed: Fixes what is random in the method.
        perplexity: Of t-SNE, see :func:`neuroprint.evaluation.perplexity.allowed_perplexity`.

    Returns:
        (n, 2) points, without a unit.

    Raises:
        NeuroprintError: The method is unknown, or an embedding holds NaN or infinity.
    """
    if method not in ("tsne", "umap", "pca"):
        raise NeuroprintError(f"map={method} is not known: choose tsne, umap or pca")
    data = np.asarray(embeddings, dtype=np.float64)
    data = data.reshape(len(data), int(np.prod(data.shape[1:])))
    if not np.isfinite(data).all():
        rows = int((~np.isfinite(data).all(axis=1)).sum())
        raise NeuroprintError(f"the map cannot be drawn: {rows} of {len(data)} embeddings hold NaN or infinity")
    data = _principal_components(data, seed)
    if method == "pca" or len(data) < 3 or not data.any():
        return np.ascontiguousarray(data[:, :2])
    return _tsne(data, seed, perplexity) if method == "tsne" else _umap(data, seed)


def _principal_components(data: Points, seed: int) -> Points:
    """Scores on at most 50 components and at least two columns, in units of the first's deviation."""
    from sklearn.decomposition import PCA

    scores = np.zeros((len(data), max(2, min(_COMPONENTS_BEFORE, *data.shape))))
    # Judged by range: the rounding error of a constant column's mean is no signal.
    if len(data) < 2 or not np.ptp(data, axis=0).any():
        return scores
    data = data / np.abs(data).max()
    if data.shape[1] > len(data):
        # Among n cases nothing has more than n dimensions: the same points, turned into those.
        data = np.asarray(np.linalg.qr((data - data.mean(axis=0)).T, mode="r")).T
    model = PCA(min(_COMPONENTS_BEFORE, *data.shape), random_state=seed)
    found = model.fit_transform(data)
    scores[:, : found.shape[1]] = found / found[:, 0].std()
    return scores


def _tsne(data: Points, seed: int, wanted: float | None) -> Points:
    from sklearn.manifold import TSNE

    perplexity = allowed_perplexity(wanted, len(data))
    # Large cohorts reach the same neighborhoods in 500 steps as in scikit-learn's 1,000; small ones do not settle.
    steps = 500 if len(data) >= _LARGE_COHORT else 1000
    model = TSNE(
        2, perplexity=perplexity, init="pca", learning_rate="auto", max_iter=steps, random_state=seed, n_jobs=1
    )  # fmt: skip
    return np.asarray(model.fit_transform(data), dtype=np.float64)


def _umap(data: Points, seed: int) -> Points:
    with warnings.catch_warnings():
        # On import it misses TensorFlow, on small cohorts it remarks on graphs that fall apart: neither is news here.
        warnings.simplefilter("ignore")
        from umap import UMAP

        neighbors = min(_NEIGHBORS, len(data) - 1)
        model = UMAP(n_neighbors=max(2, neighbors), init="pca", random_state=seed, n_jobs=1)
        return np.asarray(model.fit_transform(data), dtype=np.float64)


@styled
def draw_map(points: Floats, centers_mm: Floats, title: str, midline_mm: Floats | float = 0.0) -> Figure:
    """Draw the map three times, colored by the tumor center's distance from the midline, its y and its z.

    Args:
        points: (n, 2) positions on the map.
        centers_mm: (n, 3) tumor centers in mm, RAS+; a row with NaN is a case without a center, drawn hollow.
        title: Printed above the panels.
        midline_mm: The x that separates left from right and has the middle of the first panel's colors: one for all, or
            (n,) where heads are not registered.
    """
    where = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    centers = as_centers(centers_mm)
    centers[:, 0] -= np.broadcast_to(np.asarray(midline_mm, dtype=np.float64), len(centers))
    figure = new_figure(_HEIGHT_INCHES, placed=True)
    figure.suptitle(shorten(title, 100), x=0.01, y=1 - 0.07 / _HEIGHT_INCHES, ha="left", va="top")
    lefts = [_GAP_INCHES + number * (_PANEL_INCHES + _GAP_INCHES) for number in range(len(BODY_AXES))]
    panels = [place(figure, left, _FOOT_INCHES, _PANEL_INCHES, _PANEL_INCHES) for left in lefts]
    for axes, left, axis, values in zip(panels, lefts, BODY_AXES, centers.T, strict=True):
        dots = _draw_panel(axes, axis, where, values, color_limits(values, axis, 0.0))
        scale = place(figure, left + 0.03 * _PANEL_INCHES, _FOOT_INCHES - 0.16, 0.94 * _PANEL_INCHES, 0.08)
        bar = figure.colorbar(dots, cax=scale, orientation="horizontal")
        bar.outline.set_visible(False)
        named = "from the midline" if axis.letter == "x" else axis.letter
        bar.set_label(f"{axis.low}  ←  {named} (mm)  →  {axis.high}")
        bar.locator = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10])
    figure.supxlabel(_footnote(centers), x=0.01, y=0.05 / _HEIGHT_INCHES, ha="left", fontsize=SMALL, color=GRAY)
    return figure


def _draw_panel(
    axes: Axes, axis: BodyAxis, where: Points, values: Points, limits: tuple[float, float]
) -> PathCollection:
    known = np.isfinite(values)
    look: dict[str, Any] = {"s": 0.75 * marker_area(len(where)), "linewidths": 0.15 if len(where) > 300 else 0.4}
    axes.scatter(where[~known, 0], where[~known, 1], facecolors="none", edgecolors=GRAY, **look)
    x, y = where[known].T
    low, high = limits
    dots = axes.scatter(x, y, c=values[known], cmap=axis.color_map, vmin=low, vmax=high, edgecolors=INK, **look)
    axes.set_title(f"{axis.name} {axis.letter}")
    # Distances on such a map have no unit, and far apart says little: no ticks.
    axes.set(xticks=[], yticks=[], box_aspect=1)
    axes.set_aspect("equal", adjustable="datalim")
    axes.margins(0.12)
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color("#BBBBBB")
    return dots


def _footnote(centers: Points) -> str:
    missing = int(np.isnan(centers[:, 0]).sum())
    count = f"{len(centers):,} cases"
    return f"{count}, {missing:,} of them without a tumor center (hollow)" if missing else count
