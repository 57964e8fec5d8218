"""The leaderboard: what is ranked and how it is shown."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.influence import Influence, influence
from neuroprint.evaluation.metric import Metric
from neuroprint.tasks.leaderboard import LEAST_QUERIES, Leaderboard, cell, difference, is_ranked, metrics_of, rank_rows

P = "retrieval/p_at_5"
ERROR = "probe/error_mm"
METRICS = {
    metric.name: metric
    for metric in (
        Metric("probe/r2", "R² of the center", shown=True),
        Metric(P, "precision at 5", headline=True, shown=True),
        Metric(P, "precision at 5").share(),
        Metric(ERROR, "mean error", lower_is_better=True, unit="mm", shown=True),
        Metric("probe/error_mm_median", "median error", lower_is_better=True, unit="mm", compared=False),
    )
}
CASES = 60


def influences(score: float, error: float = 20.0, noise: float = 0.1, seed: int = 0) -> dict[str, Influence]:
    """Of sixty patients that scored about as well, each by itself."""
    drawn = noise * np.random.default_rng(seed).normal(size=CASES)
    drawn -= drawn.mean()
    nothing = np.zeros((CASES, CASES))
    return {
        P: influence(score, drawn / CASES, nothing, CASES),
        ERROR: influence(error, 10 * drawn / CASES, nothing, CASES),
    }


def row(name: str, score: float = 0.5, role: str = "candidate", **more: object) -> dict:
    bounds = {f"{P}_lo": score - 0.1, f"{P}_hi": score + 0.1}
    return {"run_id": name, "name": name, "role": role, P: score, **bounds, ERROR: 100 * (1 - score), **more}


def board(
    rows: list[dict], metric: str = P, notes: tuple[str, ...] = (), queries: tuple[int, int] = (55, CASES)
) -> Leaderboard:
    owed = {
        row["run_id"]: influences(row.get(P, 0.5), row.get(ERROR, 50.0), seed=sum(map(ord, row["name"])))
        for row in rows
    }
    return rank_rows(rows, owed, metric, METRICS, queries, notes, "the group")


ROWS = [
    row("low", 0.2),
    row("chance", 0.1, "reference"),
    row("best", 0.8),
    row("oracle", 1.0, "reference"),
    row("close", 0.79),
]


def test_the_best_come_first_and_reference_rows_stand_at_their_place():
    found = board(ROWS)
    assert found.table["name"].tolist() == ["oracle", "best", "close", "low", "chance"]
    assert found.metric is METRICS[P] and found.group == "the group"


def test_where_lower_is_better_the_lowest_come_first():
    found = board(ROWS, ERROR)
    assert found.table[ERROR].tolist() == sorted(100 * (1 - score) for score in (0.2, 0.1, 0.8, 1.0, 0.79))
    assert found.table["tied_with_best"].tolist()[1:4] == [True, False, False]


def test_rows_that_score_alike_are_in_the_order_of_their_names():
    rows = [row(name, 0.5) for name in ("c", "a", "b")]
    assert board(rows).table["name"].tolist() == board(rows[::-1]).table["name"].tolist() == ["a", "b", "c"]


def test_the_star_marks_the_best_candidate_and_what_cannot_be_told_from_it():
    marks = board(ROWS).table.set_index("name")["tied_with_best"]
    assert marks.to_dict() == {"oracle": True, "best": True, "close": True, "low": False, "chance": False}


def test_by_a_share_the_star_is_that_of_the_metric_itself():
    rows = [{**each, f"{P}_share": each[P]} for each in ROWS]
    found = board(rows, f"{P}_share").table.set_index("name")["tied_with_best"]
    assert found.equals(board(rows).table.set_index("name")["tied_with_best"])


def test_by_a_share_differences_are_those_of_the_metric_on_the_scale_of_the_share():
    """Shares of the way from 0.1 to 1: every difference, and every reach, is that of the metric over 0.9."""
    names = [*ROWS, row("voxels", 0.3, "reference")]
    plain = board(names)
    shares = board([{**each, f"{P}_share": (each[P] - 0.1) / 0.9} for each in names], f"{P}_share")
    assert shares.reach == pytest.approx(plain.reach / 0.9)
    for column in ("to_best", "to_voxels", "to_voxels_reach"):
        assert shares.table[column].to_numpy() == pytest.approx(plain.table[column].to_numpy() / 0.9)


def test_by_a_median_rows_are_ranked_and_not_told_apart():
    rows = [{**each, "probe/error_mm_median": 1 - each[P]} for each in ROWS]
    found = board(rows, "probe/error_mm_median")
    assert found.table["name"].tolist()[:2] == ["oracle", "best"] and found.is_ranked
    assert found.table["tied_with_best"].isna().all() and np.isnan(found.reach) and "to_best" not in found.table
    assert len(found.legend) == 1


def test_a_row_says_how_far_it_lies_from_the_best_and_from_voxels():
    found = board([*ROWS, row("voxels", 0.3, "reference")])
    table = found.table.set_index("name")
    assert table["to_best"].to_dict() == pytest.approx(
        {"oracle": 0.2, "best": 0.0, "close": -0.01, "voxels": -0.5, "low": -0.6, "chance": -0.7}
    )
    assert table["to_voxels"].to_dict() == pytest.approx(
        {"oracle": 0.7, "best": 0.5, "close": 0.49, "voxels": 0.0, "low": -0.1, "chance": -0.2}
    )
    assert table["to_voxels_reach"]["voxels"] == 0.0 and (table["to_voxels_reach"].drop("voxels") > 0.01).all()
    said = found.differences(found.records()[1])
    assert said == {
        "to the best": "the best",
        "to voxels": f"+0.50 ± {table['to_voxels_reach']['best']:.2f}",
    }
    assert found.differences(found.records()[2])["to the best"] == f"-0.01 ± {found.reach:.2f}"
    assert found.differences(found.records()[3]) == {"to the best": f"-0.50 ± {found.reach:.2f}", "to voxels": "–"}


def test_of_errors_the_difference_of_a_worse_row_is_positive():
    table = board([*ROWS, row("voxels", 0.3, "reference")], ERROR).table.set_index("name")
    assert table["to_best"]["low"] == pytest.approx(60.0) and table["to_voxels"]["best"] == pytest.approx(-50.0)


def test_without_voxels_nothing_is_said_of_them():
    found = board(ROWS)
    assert "to_voxels" not in found.table and not any("Dunnett" in text for text in found.legend)
    assert list(found.differences({})) == ["to the best"]


@pytest.mark.parametrize(
    ("value", "reach", "shown"),
    [(0.1234, 0.05, "+0.12 ± 0.05"), (-0.1, np.nan, "-0.10"), (-0.001, 0.05, "0.00 ± 0.05"), (np.nan, 0.05, "–")],
)
def test_a_difference_has_a_sign_and_half_the_width_of_its_interval(value, reach, shown):
    assert difference(value, reach, METRICS[P]) == shown


def test_the_legend_says_how_many_queries_there_are_and_what_the_star_and_the_differences_mean():
    found = board([*ROWS, row("voxels", 0.3, "reference")])
    queries, star, voxels = found.legend
    assert queries.startswith(f"55 of {CASES} cases are queries with a value") and "conditional" in queries
    assert star.startswith("*:") and f"{found.reach:.2f}" in star and "Hsu" in star
    assert voxels.startswith("to voxels:") and "Dunnett" in voxels
    assert f"{board(ROWS, ERROR).reach:.1f} mm" in board(ROWS, ERROR).legend[1]


def test_if_the_best_is_not_told_from_chance_that_is_said():
    line = "the best is not told from chance either"
    assert line not in board(ROWS).legend
    assert line in board([row("best", 0.105), row("low", 0.05), row("chance", 0.1, "reference")]).legend
    assert line not in board([row("best", 0.105), row("low", 0.05)]).legend, "nobody asked for chance"


def test_with_few_queries_nothing_is_ranked_or_told_apart_and_a_line_says_so():
    few = board([*ROWS, row("voxels", 0.3, "reference")], queries=(LEAST_QUERIES - 1, CASES))
    assert few.table["name"].tolist() == ["best", "close", "low", "chance", "oracle", "voxels"]
    assert few.table["tied_with_best"].isna().all() and np.isnan(few.reach) and not few.is_ranked
    assert not {"to_best", "to_voxels", "to_voxels_reach"} & set(few.table)
    assert few.legend[0].startswith(f"9 of {CASES} cases") and few.legend[1].startswith("fewer than 10 queries")
    words = " ".join(printed(few).split())
    assert "nothing is ranked, and nothing told apart" in words and "*" not in words and "±" not in words
    assert "★" not in few._repr_html_()
    assert board(ROWS, queries=(LEAST_QUERIES, CASES)).is_ranked


def test_a_row_without_an_influence_is_ranked_and_not_compared():
    owed = {each["name"]: influences(each[P], seed=n) for n, each in enumerate(ROWS) if each["name"] != "close"}
    found = rank_rows(ROWS, owed, P, METRICS, (55, CASES))
    table = found.table.set_index("name")
    assert found.table["name"].tolist() == ["oracle", "best", "close", "low", "chance"]
    assert pd.isna(table["tied_with_best"]["close"]) and np.isnan(table["to_best"]["close"])
    assert found.cells(found.records()[2])[1] == "–" and table["tied_with_best"]["best"]


@pytest.mark.parametrize("exportable", [False, "False"])  # MLflow keeps parameters as text
def test_what_cannot_be_exported_stands_behind_all_others_and_is_not_compared(exportable):
    found = board([*ROWS, row("seen", 0.95, exportable=exportable), row("seen too", 0.01, exportable=exportable)])
    assert found.table["name"].tolist()[-2:] == ["seen", "seen too"]
    assert found.table["name"].tolist()[:-2] == board(ROWS).table["name"].tolist()
    marks = found.table.set_index("name")["tied_with_best"]
    assert marks[["seen", "seen too"]].isna().all() and marks["best"]
    assert found.note == "not exportable: laid out together with the queries, hence last and not compared with the best"
    assert found.ranked_rows["name"].tolist() == board(ROWS).table["name"].tolist()
    assert not is_ranked({"exportable": exportable}) and is_ranked({"exportable": True}) and is_ranked({})


def test_reference_rows_cannot_be_exported_and_are_ranked_all_the_same():
    rows = [{**each, "exportable": each["role"] == "candidate"} for each in ROWS]
    assert board(rows).table["name"].tolist()[0] == "oracle" and board(rows).note == ""


def test_if_nothing_can_be_exported_all_rows_are_shown():
    found = board([row("seen", 0.95, exportable=False), row("chance", 0.1, "reference", exportable=False)])
    assert found.ranked_rows["name"].tolist() == ["chance", "seen"]


def test_a_run_without_the_metric_stands_last_and_is_not_compared():
    lacking = {key: value for key, value in row("lacking").items() if key != P}
    found = board([*ROWS, lacking])
    assert found.table["name"].iloc[-1] == "lacking" and found.table["tied_with_best"].isna().iloc[-1]
    assert cell(found.records()[-1], METRICS[P]) == "–"
    assert board([lacking]).table["tied_with_best"].isna().all()


def test_notes_are_kept_line_by_line():
    found = board([*ROWS, row("seen", exportable=False)], notes=("untrained is not yet scored", "and more"))
    first, second, third = found.note.splitlines()
    assert (first, second) == ("untrained is not yet scored", "and more") and third.startswith("not exportable")
    assert all(line in str(found).replace("\n", " ") for line in (first, second))


def test_an_unknown_metric_names_those_there_are():
    with pytest.raises(NeuroprintError, match=f"no run has the metric retrieval/mrr: choose one of probe/r2, {P}"):
        board(ROWS, "retrieval/mrr")


def test_columns_are_who_then_the_choices_then_metrics_beside_their_bounds():
    rows = [{**each, "pooling": "mean", "layer": "stage4"} for each in ROWS]
    assert board(rows).table.columns.tolist() == [
        *("run_id", "name", "role", "tied_with_best", "to_best", "pooling", "layer"),
        *(ERROR, P, f"{P}_hi", f"{P}_lo"),
    ]


def test_choices_are_varied_where_candidates_differ():
    rows = [
        row("a", pooling="mean", layer="4", seed=0),
        row("b", pooling="max", layer="4", seed=0, components=16),
        row("chance", role="reference", layer="none", seed=9),
    ]
    assert board(rows).varied_choices == ["pooling", "components"]


def test_the_metric_of_the_ranking_is_shown_first():
    assert [metric.name for metric in board(ROWS).shown] == [P, ERROR]  # no row has an R²
    assert [metric.name for metric in board(ROWS, ERROR).shown] == [ERROR, P]


@pytest.mark.parametrize(
    ("values", "metric", "shown"),
    [
        ({P: 0.4567, f"{P}_lo": 0.301, f"{P}_hi": 0.6}, P, "0.46 [0.30, 0.60]"),
        ({P: 0.4567}, P, "0.46"),
        ({P: np.nan}, P, "–"),
        ({}, P, "–"),
        ({P: -0.001, f"{P}_lo": -0.5, f"{P}_hi": 0.5}, P, "0.00 [-0.50, 0.50]"),
        ({ERROR: 12.345, f"{ERROR}_lo": 10.0, f"{ERROR}_hi": 15.06}, ERROR, "12.3 [10.0, 15.1]"),
        ({P: 0.5, f"{P}_lo": np.nan, f"{P}_hi": np.nan}, P, "0.50"),
    ],
)
def test_a_cell_is_the_value_with_its_interval(values, metric, shown):
    assert cell(values, METRICS[metric]) == shown


def printed(found: Leaderboard, most: int = 25) -> str:
    console = Console(width=120, file=io.StringIO())
    console.print(found.to_terminal(most))
    return console.file.getvalue()


def test_it_prints_names_as_they_are():
    rows = [row("[red]loud[/red]"), row("path [0]"), row("[/]")]
    for text in (str(board(rows)), printed(board(rows))):
        for name in ("[red]loud[/red]", "path [0]", "[/]"):
            assert name in text


def test_it_prints_stars_values_and_the_legend():
    lines = str(board(ROWS)).splitlines()
    assert lines[0].strip().startswith(f"by {P}")
    best = next(line for line in lines if " best " in line and "[0.70" in line)
    assert best.split()[0] == "*" and "0.80 [0.70, 0.90]" in best and "20.0" in best
    assert not any(line.strip().startswith("*") and ("low" in line or "chance" in line) for line in lines[:8])
    words = " ".join(str(board(ROWS)).split())
    assert f"55 of {CASES} cases are queries" in words and "95 % interval over patients" in words
    assert all(" ".join(text.split()) in words for text in board(ROWS).legend)
    assert f"-0.60 ± {board(ROWS).reach:.2f}" in next(line for line in lines if " low " in line)


def test_of_many_candidates_the_best_are_printed_and_every_reference_row():
    rows = [row(f"candidate {n:02d}", 0.9 - n / 100) for n in range(30)] + [row("chance", 0.01, "reference")]
    text = str(board(rows))
    assert "candidate 24" in text and "candidate 25" not in text and "... and 5 more" in text and "chance" in text
    few = printed(board(rows), most=2)
    assert "candidate 01" in few and "candidate 02" not in few and "... and 28 more" in few
    assert "... and" not in printed(board(rows), most=30)


def test_it_shows_as_html_with_names_escaped():
    found = board([row("<b>bold</b> & co", 0.8), row("low", 0.1), row("chance", 0.05, "reference")], notes=("1 < 2",))
    page = found._repr_html_()
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; co" in page and "<b>" not in page and "1 &lt; 2" in page
    assert page.count("<tr>") == 4 and page.count("★</td>") == 1
    assert "<i>chance</i>" in page and "<i>low</i>" not in page
    assert "<th>precision at 5</th>" in page and "0.80 [0.70, 0.90]" in page


def test_records_are_the_rows():
    found = board(ROWS)
    assert [record["name"] for record in found.records()] == found.table["name"].tolist()
    assert found.records()[1][P] == 0.8


def test_the_metrics_of_a_table_of_queries_are_its_records():
    table = pd.DataFrame({"case": ["a", "b"], "p_at_5": [0.5, 0.2]})
    assert metrics_of(table) == {}
    table.attrs["metrics"] = [metric.record() for metric in METRICS.values()]
    assert metrics_of(table) == METRICS


def test_records_survive_a_parquet_file(tmp_path):
    table = pd.DataFrame({"case": ["a", "b"], "p_at_5": [0.5, 0.2]})
    table.attrs["metrics"] = [metric.record() for metric in METRICS.values()]
    table.to_parquet(tmp_path / "queries.parquet")
    assert metrics_of(pd.read_parquet(tmp_path / "queries.parquet")) == METRICS
