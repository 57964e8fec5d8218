"""The perplexity of t-SNE, within what a cohort allows."""

from __future__ import annotations

import logging
from functools import cache

log = logging.getLogger(__name__)

_USUAL = 30.0


@cache  # so that the folds of a run, and its map, say it once
def allowed_perplexity(wanted: float | None, cases: int) -> float:
    """The perplexity to use: roughly how many neighbors a case keeps, which must be fewer than there are cases.

    Args:
        wanted: Used as it is where it is below ``cases``, else clipped to a third of the others with a logged warning.
            None: 30, or quietly less.
        cases: Number of cases, at least 2.
    """
    most = (cases - 1) / 3
    if wanted is None:
        return min(_USUAL, most)
    if wanted < cases:
        return float(wanted)
    log.warning("perplexity=%g is not below %d cases: clipped to %.3g", wanted, cases, most)
    return most
