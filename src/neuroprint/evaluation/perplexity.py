"""The perplexity of t-SNE, within what a cohort allows."""

from __future__ import annotations

_USUAL = 30.0


def allowed_perplexity(wanted: float | None, cases: int) -> float:
    """The perplexity to use: roughly how many neighbors a case keeps, which must be fewer than there are cases.

    Args:
        wanted: Used as it is where it is below ``cases``, else clipped to a third of the others.
            None: 30, or quietly less.
        cases: Number of cases, at least 2.
    """
    most = (cases - 1) / 3
    if wanted is None:
        return min(_USUAL, most)
    if wanted < cases:
        return float(wanted)
    return most
