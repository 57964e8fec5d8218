"""How well a scan was prepared, in numbers and in one word."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from neuroprint.prepare.brain import LEAST_ML, MOST_ML
from neuroprint.prepare.naming import SERIES

Verdict = Literal["good", "look at it", "failed"]

# Set by hand, by a dozen scans in their place and 12 mm off it, whose ranges overlap: a verdict is no proof.
_GOOD_CORRELATION, _LEAST_CORRELATION = 0.7, 0.4
_GOOD_DICE, _LEAST_DICE = 0.88, 0.6
_GOOD_COVER = 0.95
_GOOD_INFORMATION = 0.1


@dataclass(frozen=True)
class Quality:
    """What is measured on a prepared case.

    Attributes:
        brain_ml: Volume of the brain's mask.
        dice: Of the mask and the template's own.
        correlation: Of T1 and template, each 0 outside its brain, where either has brain.
        covered: By modality, the share of the mask that the series shows.
        information: By modality, mutual information with the series that the others were laid on, in nats.
    """

    brain_ml: float
    dice: float
    correlation: float
    covered: Mapping[str, float] = field(default_factory=dict)
    information: Mapping[str, float] = field(default_factory=dict)


def judged(quality: Quality, remarks: list[str]) -> tuple[Verdict, list[str]]:
    """The verdict on a case, and each reason why it is not good.

    Args:
        quality: Its measures.
        remarks: What was done in another way than usual; each is a reason to look.
    """
    bad = [
        *([f"the brain has {quality.brain_ml:.0f} ml"] if not LEAST_ML <= quality.brain_ml <= MOST_ML else []),
        *(
            [f"the brain overlaps with the template's to a Dice of {quality.dice:.2f} only"]
            if quality.dice < _LEAST_DICE
            else []
        ),
        *(
            [f"the scan correlates with the template to {quality.correlation:.2f} only"]
            if quality.correlation < _LEAST_CORRELATION
            else []
        ),
    ]
    if bad:
        return "failed", bad
    doubts = list(remarks)
    if quality.dice < _GOOD_DICE:
        doubts.append(f"the brain overlaps with the template's to a Dice of {quality.dice:.2f}")
    if quality.correlation < _GOOD_CORRELATION:
        doubts.append(f"the scan correlates with the template to {quality.correlation:.2f}")
    doubts += [
        f"{name} shows {share:.0%} of the brain" for name, share in quality.covered.items() if share < _GOOD_COVER
    ]
    doubts += [
        f"{name} was hard to lay on the others ({nats:.2f} nats of mutual information)"
        for name, nats in quality.information.items()
        if nats < _GOOD_INFORMATION
    ]
    doubts += [f"there is no {name}" for name in SERIES if name not in quality.covered]
    return ("look at it" if doubts else "good"), doubts
