"""An answer as one page: pictures, map and scores in a single file that asks nothing of a network and runs no script."""

from __future__ import annotations

import html
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING

from neuroprint.bundle.answer import group_sentences, remarks
from neuroprint.bundle.map_drawing import MOST_POINTS, group_colors, map_drawing
from neuroprint.bundle.plates import CONVENTION, case_plates, longest_side
from neuroprint.bundle.query import MAP_NEIGHBORS, groups_of
from neuroprint.bundle.score_table import score_table
from neuroprint.data.facts import picture_mm
from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    from pathlib import Path

    from neuroprint.bundle.answer import Answer, Match
    from neuroprint.bundle.bundle import Bundle

_SPACE = "\u00a0"  # keeps a unit with its number


def write_report(answer: Answer, bundle: Bundle, file: Path) -> None:
    """Write the page of an answer.

    Raises:
        NeuroprintError: The file cannot be written.
    """
    page = report(answer, bundle)
    try:
        file.write_text(page, encoding="utf-8")
    except OSError as error:
        raise NeuroprintError(
            f"{file} cannot be written ({error.strerror}): name a file in a folder that exists"
        ) from error


def report(answer: Answer, bundle: Bundle) -> str:
    """The page of an answer as self-contained HTML."""
    assets = files("neuroprint.bundle") / "assets"
    column = answer.column or "side"
    groups = groups_of(bundle, column)
    sizes = [bundle.picture_mm(match.case) for match in answer.matches]
    longest = longest_side(picture_mm(answer.query.facts), *sizes)
    cards = [_query_card(answer, longest)]
    for match, size in zip(answer.matches, sizes, strict=True):
        mips, outlines = bundle.pictures(match.case)
        plates = case_plates(mips, outlines, match.case, size, longest)
        cards.append(_match_card(match, answer, bundle, groups, plates))
    known = [answer.query.side, *(_text(bundle.cases["side"].iloc[match.row]) for match in answer.matches)]
    missing = sum(side is None for side in known)
    return Template((assets / "report.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(f"{answer.query.case}: similar patients"),
        style=(assets / "report.css").read_text(encoding="utf-8"),
        query=html.escape(answer.query.case),
        lead=_lead(answer, bundle),
        remarks=_remarks(answer, bundle),
        cards="\n".join(cards),
        convention=html.escape(CONVENTION),
        outlined=f"{missing} of the {len(known)} cases shown have no known tumor outline." if missing else "",
        vote=_vote(answer),
        map=map_drawing(
            bundle.map_xy,
            _titles(bundle, column, groups),
            groups,
            [match.row for match in answer.matches],
            answer.map_xy,
        ),
        legend=_legend(groups, column),
        placement=_placement(answer, bundle),
        scores=score_table(bundle.scores, str(bundle.manifest["relevance"])),
        footer=_footer(bundle),
    )


def _lead(answer: Answer, bundle: Bundle) -> str:
    best = answer.matches[0]
    patients = bundle.cases["patient"].nunique()
    said = (
        f"Compared with {len(bundle.cases)} cases of {patients} patients. The closest is "
        f"<strong>{html.escape(best.case)}</strong>, {_measure(bundle)} {best.similarity:.3f}"
    )
    if best.percentile is not None:
        said += f": closer than {_percent(best.percentile)} of the gallery's pairs of different patients"
    if best.distance_mm is not None:
        said += f", its tumor's center {best.distance_mm:.0f} mm from this one's"
    return said + "."


def _remarks(answer: Answer, bundle: Bundle) -> str:
    said = remarks(answer)
    unlike = [answer.novelty.is_unlike and remark is said[-1] for remark in said]
    return "\n".join(
        f'<p class="remark{" unlike" if warn else ""}" role="note">{html.escape(remark)}</p>'
        for remark, warn in zip(said, unlike, strict=True)
    )


def _query_card(answer: Answer, longest_mm: float) -> str:
    query = answer.query
    facts = [("tumor", query.side or "not known"), ("volume", _volume(query.volume_cm3))]
    sizes = picture_mm(query.facts)
    drawn = case_plates(query.facts.mips, query.facts.outlines, query.case, sizes, longest_mm)
    return (
        f'<article class="case query"><h3><span class="rank">query</span>{html.escape(query.case)}</h3>'
        f'<div class="plates">{drawn}</div><dl class="facts">{_facts(facts)}</dl></article>'
    )


def _match_card(match: Match, answer: Answer, bundle: Bundle, groups: list[str | None], plates: str) -> str:
    case = bundle.cases.iloc[match.row]
    distance = "not known" if match.distance_mm is None else f"{match.distance_mm:.1f}{_SPACE}mm"
    facts = [("center distance", distance), ("tumor", _text(case["side"]) or "not known")]
    facts.append(("volume", _volume(float(case["volume_cm3"]))))
    if answer.column not in (None, "side"):
        facts.append((str(answer.column), groups[match.row] or "not known"))
    percentile, bar = "not known", ""
    if match.percentile is not None:
        percentile, bar = (
            _percent(match.percentile),
            f'<div class="bar"><i style="width:{match.percentile:.1f}%"></i></div>',
        )
    first = f'<dt>{html.escape(_measure(bundle))}</dt><dd class="main">{match.similarity:.3f}</dd>'
    return (
        f'<article class="case"><h3><span class="rank">{match.rank}</span>{html.escape(match.case)}</h3>'
        f'<div class="plates">{plates}</div>'
        f'<dl class="facts">{first}<dt>percentile</dt><dd>{percentile}</dd>{bar}{_facts(facts)}</dl></article>'
    )


def _vote(answer: Answer) -> str:
    vote = answer.group
    if vote is None:
        return ""
    rows = "".join(
        f'<span>{html.escape(name)}</span><span class="share"><i style="width:{100 * share:.1f}%"></i>'
        f'<b style="left:{100 * vote.base_rates[name]:.1f}%"></b></span><span>{share:.0%}</span>'
        for name, share in vote.shares.items()
    )
    said = "".join(f'<p class="verdict">{html.escape(sentence)}</p>' for sentence in group_sentences(answer))
    return (
        f'<section aria-labelledby="vote"><h2 id="vote">Which group it resembles: {html.escape(str(answer.column))}</h2>'
        f'<div class="shares">{rows}</div>{said}<p class="note">Bar: share of the neighbors\' votes, each weighted by '
        "similarity; black line: share of the gallery. A resemblance is not a prognosis.</p></section>"
    )


def _titles(bundle: Bundle, column: str, groups: list[str | None]) -> list[str]:
    return [
        f"{case}, {column}: {group or 'not known'}" for case, group in zip(bundle.cases["case"], groups, strict=True)
    ]


def _legend(groups: list[str | None], column: str) -> str:
    colors = group_colors(groups)
    said = ['<span><span class="star">★</span>query</span>', '<span><span class="dot number">1</span>matches</span>']
    said += [
        f'<span><span class="dot" style="background:{color}"></span>{html.escape(_of(column, group))}</span>'
        for group, color in colors.items()
    ]
    if any(group not in colors for group in groups):
        said.append('<span><span class="dot hollow"></span>other or not known</span>')
    return "".join(said)


def _of(column: str, group: str) -> str:
    return f"tumor {group}" if column == "side" else f"{column} {group}"


def _placement(answer: Answer, bundle: Bundle) -> str:
    if answer.known_as is not None:
        said = f"The query is drawn where {html.escape(answer.known_as)} lies."
    else:
        said = (
            f"The map was drawn without the query, which is placed between its {min(MAP_NEIGHBORS, len(bundle.cases))} "
            "nearest cases, each pulling by its similarity (dashed lines lead to the matches)."
        )
    if len(bundle.cases) > MOST_POINTS:
        said += f" Of {len(bundle.cases)} cases {MOST_POINTS} are drawn, and the matches."
    return f"{said} Distances on such a map have no unit, and far apart says little."


def _footer(bundle: Bundle) -> str:
    manifest = bundle.manifest
    versions = ", ".join(f"{name} {version}" for name, version in manifest.get("versions", {}).items())
    return (
        f"<p>Bundle {html.escape(bundle.name)}, made {html.escape(str(manifest.get('created', 'at an unknown time')))}. "
        f"{html.escape(versions)}.</p>"
        "<p>For research. Similar pictures are no diagnosis: this page has not been tested for clinical use.</p>"
    )


def _facts(rows: list[tuple[str, str]]) -> str:
    return "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in rows)


def _measure(bundle: Bundle) -> str:
    return "−distance" if bundle.similarity == "euclidean" else f"{bundle.similarity} similarity"


def _percent(percentile: float) -> str:
    """Rounded down, so that only what is above all is 100 %."""
    return f"{int(percentile * 10) / 10:g}{_SPACE}%"


def _volume(volume_cm3: float | None) -> str:
    return "not known" if volume_cm3 is None or volume_cm3 != volume_cm3 else f"{volume_cm3:.1f}{_SPACE}cm³"


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
