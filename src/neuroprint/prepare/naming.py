"""What a series is, by its name: of a file, or as the scanner's operator called it."""

from __future__ import annotations

import re

SERIES = ("t1", "t1ce", "t2", "flair")
"""What a prepared case has, as BraTS's cases do."""

_FLAIR = re.compile(r"flair|dark.?fluid|\btirm\b")
_T1 = re.compile(r"t1|mp2?rage|\b(?:f?spgr|bravo|vibe|mpr)\b")
_T2 = re.compile(r"t2(?!.?(?:star|\*|f\b))")
_FLAIR_SHORT = re.compile(r"\b(?:t2f|fla)\b")
_CONTRAST = re.compile(
    r"\bt1(?:c|ce|gd|gad|km|post|contrast)\b|\b(?:c|ce|gd|gad|gado|gadolinium|post|postcontrast|contrast|km|kontrast)\b"
)
_NO_CONTRAST = re.compile(r"\b(?:pre|no|non|without|w/?o|ohne|native?|nativ|sans|noncontrast)\b")
_LABEL = re.compile(r"\b(?:seg|label|labels|tumou?r|roi|mask|segmentation)\b")
_OTHER = re.compile(
    r"localizer|scout|survey|3.?plane|\b(?:dwi|dti|adc|trace|swi|swan|asl|perf|perfusion|dsc|dce|mip|minip|phase"
    r"|subtraction|sub(?! \w*\d)|fmri|bold|angio|tof|mra|loc|spectro|csi|gre|t2star|fieldmap|b0|fa|cbv|cbf)\b|t2.?(?:star|\*)"
)


def role_of(name: str) -> str | None:
    """``t1``, ``t1ce``, ``t2``, ``flair`` or ``label``, by what a name holds; None where it says nothing, or two things.

    Example:
        >>> [role_of(name) for name in ("AX T1 POST GD", "t2w", "sub-01_FLAIR", "SAG MPRAGE", "DWI b1000", "x_seg")]
        ['t1ce', 't2', 'flair', 't1', None, 'label']
    """
    text = re.sub(r"[\W_]+", " ", name.lower().replace("+c", " gd ").replace("w/o", " without ")).strip()
    if _OTHER.search(text):
        return None
    if _LABEL.search(text):
        return "label"
    if _FLAIR.search(text) or _FLAIR_SHORT.search(text):
        return "flair"
    t1, t2 = _T1.search(text), _T2.search(text)
    if t1 and t2:
        return None
    if t1:
        return "t1ce" if _CONTRAST.search(text) and not _NO_CONTRAST.search(text) else "t1"
    return "t2" if t2 else None
