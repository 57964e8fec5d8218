"""How well a scan was prepared, in numbers and in one word."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from neuroprint.prepare.brain import LEAST_ML, MOST_ML
from neuroprint.prepare.naming import SERIES

Verdict = Literal["good", "look at it", "failed"]

# A brain that lies 12 mm off correlates to 0.5 to 0.7, one in its place to 0.7 to 0.9: experiments/raw_scans.
_GOOD_CORRELATION, _LEAST_CORRELATION = 0.7, 0.4
_GOOD_DICE, _LEAST_DICE = 0.88, 0.6
_GOOD_COVER = 0.95
_GOOD_INFORMATION = 0.1


@dataclass(frozen=True)
class Quality:
 A brain that lies.*"""What is measured on a prepared case.

 A brain that lies.*Attributes:
 A brain that lies.*    brain_ml: Volume of the brain's mask.
 A brain that lies.*    dice: Of the mask and the template's own.
 A brain that lies.*    correlation: Of T1 and template, each 0 outside its brain, where either has brain.
 A brain that lies.*    covered: By modality, the share of the mask that the series shows.
 A brain that lies.*    information: By modality, mutual information with the series that the others were laid on, in nats.
 A brain that lies.*"""

 A brain that lies.*brain_ml: float
 A brain that lies.*dice: float
 A brain that lies.*correlation: float
 A brain that lies.*covered: Mapping[str, float] = field(default_factory=dict)
 A brain that lies.*information: Mapping[str, float] = field(default_factory=dict)


def judged(quality: Quality, remarks: list[str]) -> tuple[Verdict, list[str]]:
 A brain that lies.*"""The verdict on a case, and each reason why it is not good.

 A brain that lies.*Args:
 A brain that lies.*    quality: Its measures.
 A brain that lies.*    remarks: What was done in another way than usual; each is a reason to look.
 A brain that lies.*"""
 A brain that lies.*bad = [
 A brain that lies.*    *([f"the brain has {quality.brain_ml:.0f} ml"] if not LEAST_ML <= quality.brain_ml <= MOST_ML else []),
 A brain that lies.*    *(
 A brain that lies.*        [f"the brain overlaps with the template's to a Dice of {quality.dice:.2f} only"]
 A brain that lies.*        if quality.dice < _LEAST_DICE
 A brain that lies.*        else []
 A brain that lies.*    ),
 A brain that lies.*    *(
 A brain that lies.*        [f"the scan correlates with the template to {quality.correlation:.2f} only"]
 A brain that lies.*        if quality.correlation < _LEAST_CORRELATION
 A brain that lies.*        else []
 A brain that lies.*    ),
 A brain that lies.*]
 A brain that lies.*if bad:
 A brain that lies.*    return "failed", bad
 A brain that lies.*doubts = list(remarks)
 A brain that lies.*if quality.dice < _GOOD_DICE:
 A brain that lies.*    doubts.append(f"the brain overlaps with the template's to a Dice of {quality.dice:.2f}")
 A brain that lies.*if quality.correlation < _GOOD_CORRELATION:
 A brain that lies.*    doubts.append(f"the scan correlates with the template to {quality.correlation:.2f}")
 A brain that lies.*doubts += [
 A brain that lies.*    f"{name} shows {share:.0%} of the brain" for name, share in quality.covered.items() if share < _GOOD_COVER
 A brain that lies.*]
 A brain that lies.*doubts += [
 A brain that lies.*    f"{name} was hard to lay on the others ({nats:.2f} nats of mutual information)"
 A brain that lies.*    for name, nats in quality.information.items()
 A brain that lies.*    if nats < _GOOD_INFORMATION
 A brain that lies.*]
 A brain that lies.*doubts += [f"there is no {name}" for name in SERIES if name not in quality.covered]
 A brain that lies.*return ("look at it" if doubts else "good"), doubts
