"""What a researcher sees who opens the printed address in MLflow's own UI."""

from __future__ import annotations

import re

import numpy as np

from neuroprint.figures.map_html import interactive_map

PICTURES = ("map.png", "probe.png", "precision_at_k.png", "retrieval.png")


def grid(page):
    """Headers and rows of the runs' table, as texts by their column.

    MLflow's assistant is shut, which stands beside the table: columns out of sight are not drawn.
    """
    page.click("[data-component-id='mlflow.assistant.chat_panel.close']")
    page.wait_for_selector("[role=columnheader]:has-text('probe/error_mm')")
    page.wait_for_selector(".ag-center-cols-container [role=row]")
    return page.evaluate(
        """() => {
          const heads = {}, rows = {};
          document.querySelectorAll('[role=columnheader]').forEach(h => heads[h.getAttribute('col-id')] = h.innerText.trim());
          document.querySelectorAll('[role=row][row-index]').forEach(row => {
            const cells = rows[row.getAttribute('row-index')] ??= {};
            row.querySelectorAll('[role=gridcell]').forEach(c => cells[c.getAttribute('col-id')] = c.innerText.trim());
          });
          return [heads, Object.keys(rows).map(Number).sort((a, b) => a - b).map(k => rows[k])];
        }"""
    )


def test_the_sweep_prints_the_address_that_the_ui_command_opens(looked):
    assert "neuroprint ui" in looked.printed
    assert looked.address.split("/#")[1] in looked.printed
    assert re.fullmatch(
        r"http://127\.0\.0\.1:\d+/#/experiments/1/runs\?workflowType=machine_learning&viewStateShareKey=\w+",
        looked.address,
    )


def test_the_address_shows_the_runs_ranked_with_what_differs_and_the_metrics(looked, page):
    page.goto(looked.address)
    page.wait_for_selector("text=oracle")
    headers, rows = grid(page)
    shown = " ".join(headers.values())
    for column in ("retrieval/p_at_5", "retrieval/p_at_5_lo", "probe/r2", "probe/error_mm", "projection"):
        assert column in shown
    for noise in ("folds", "dataset", "similarity", "probe/r2_x", "cohort/cases", "extract/forwards"):
        assert noise not in shown.split()
    ranked = [*looked.runs("candidate"), *looked.runs("reference")]
    scores = sorted((round(run.data.metrics["retrieval/p_at_5"], 3) for run in ranked), reverse=True)
    column = next(
        key for key in headers if (key and key.endswith("retrieval/p_at_5`")) or headers[key] == "retrieval/p_at_5"
    )
    assert [round(float(row[column]), 3) for row in rows if row.get(column)] == scores


def test_the_parent_says_what_was_found_and_its_pictures_render(looked, page):
    (parent,) = looked.runs("sweep")
    page.goto(f"{looked.server}/#/experiments/1/runs/{parent.info.run_id}")
    page.wait_for_selector("text=neuroprint export OUT --run")
    page.goto(f"{looked.server}/#/experiments/1/runs/{parent.info.run_id}/artifacts/plots/leaderboard.png")
    page.wait_for_function("() => [...document.images].some(i => i.src && i.naturalWidth === 1200)")


def test_a_runs_figures_render(looked, page):
    best = looked.runs("candidate")[0]
    for picture in PICTURES:
        page.goto(f"{looked.server}/#/experiments/1/runs/{best.info.run_id}/artifacts/plots/{picture}")
        page.wait_for_function("() => [...document.images].some(i => i.naturalWidth === 1200)")


def test_pointing_at_a_case_of_the_interactive_map_names_it_and_shows_its_picture(looked, page):
    best = looked.runs("candidate")[0]
    page.goto(f"{looked.server}/#/experiments/1/runs/{best.info.run_id}/artifacts/plots/map.html")
    frame = page.frame_locator("iframe").first
    canvas = frame.locator("#map")
    canvas.wait_for()
    inside = page.frames[-1]
    assert inside.evaluate("data.ids.length") == 10
    x, y = inside.evaluate("placeOf(4)")
    canvas.hover(position={"x": x, "y": y})
    frame.locator("#picture img").wait_for()
    name = frame.locator("#case").inner_text()
    assert re.fullmatch(r"Small_\d{5}", name)
    said = frame.locator("#facts").inner_text()
    assert "side" in said and "center x, y, z (mm)" in said and "cm³" in said
    assert name in frame.locator("#hint").inner_text()


def test_the_experiment_opened_plainly_leads_to_the_latest_leaderboard(looked, page):
    page.goto(f"{looked.server}/#/experiments/1/runs?workflowType=machine_learning")
    link = page.locator("a[href*=viewStateShareKey]").first
    link.wait_for()
    with page.context.expect_page() as opened:
        link.click()
    opened.value.wait_for_selector("text=oracle")


def test_two_regions_of_the_map_show_what_their_cases_share(page, tmp_path):
    """A lasso around the cases on the left, a box around those on the right."""
    centers = np.array([[-40.0, 0, 0], [-30, 5, 0], [-35, -5, 9], [40, 0, 0], [30, 5, 0]])
    ids = ["a", "b", "c", "d", "e"]
    pictures = {case: np.full((40, 40), 90, dtype=np.uint8) for case in ids[:4]}
    written = tmp_path / "map.html"
    written.write_text(
        interactive_map(centers[:, :2], ids, centers, np.arange(5.0), pictures, "five"), encoding="utf-8"
    )
    page.goto(f"file://{written}")
    page.get_by_role("button", name="lasso A").click()
    drag(page, [(-42, -12), (-42, 12), (-24, 12), (-24, -12)])
    page.get_by_role("button", name="box B").click()
    drag(page, [(20, 12), (42, -12)])
    first, second = page.locator("#regionA"), page.locator("#regionB")
    assert "Region A: 3 cases" in first.inner_text() and "left: 3 of 3" in first.inner_text()
    assert "Region B: 2 cases" in second.inner_text() and "right: 2 of 2" in second.inner_text()
    assert re.search(r"left-right x\s+−35 \(−40 to −30\) mm", first.inner_text())
    assert first.locator("img").count() == 3 and second.locator("img").count() == 1
    assert "no picture of this case" in second.inner_text()
    second.get_by_role("button", name="clear").click()
    assert page.locator("#regions section").count() == 1


def drag(page, corners):
    """The mouse along corners that are given in the map's own units."""
    box = page.locator("#map").bounding_box()
    places = [page.evaluate("([x, y]) => onScreen(x, y)", list(corner)) for corner in corners]
    for step, (x, y) in enumerate(places):
        page.mouse.move(box["x"] + x, box["y"] + y, steps=3)
        if step == 0:
            page.mouse.down()
    page.mouse.up()


def test_the_compare_page_of_two_runs_shows_what_differs_and_nothing_that_is_no_number(looked, page):
    first, second = (run for run in looked.runs("candidate") if run.data.params["projection"] in ("none", "pca"))
    page.goto(f'{looked.server}/#/compare-runs?runs=["{first.info.run_id}","{second.info.run_id}"]&experiments=["1"]')
    page.wait_for_selector("text=probe/error_mm_median")
    text = page.inner_text("body")
    assert "projection" in text and "components" in text
    assert not re.search(r"\b(nan|inf|infinity)\b", text, re.IGNORECASE)
    differing = {
        key
        for key in {**first.data.params, **second.data.params}
        if first.data.params.get(key) != second.data.params.get(key)
    }
    assert differing == {"projection", "components"}


def test_the_page_of_the_map_alone_needs_no_network(looked, page, tmp_path):
    """Also outside of MLflow's frame, from a file."""
    from urllib.parse import unquote, urlparse

    asked = []
    page.on("request", lambda request: asked.append(request.url) if request.url.startswith("http") else None)
    folder = unquote(urlparse(looked.runs("candidate")[0].info.artifact_uri).path)
    page.goto(f"file://{folder}/plots/map.html")
    page.locator("#map").wait_for()
    page.get_by_role("button", name="down-up z").click()
    page.wait_for_selector("button[aria-pressed=true]:has-text('down-up z')")
    assert asked == []
