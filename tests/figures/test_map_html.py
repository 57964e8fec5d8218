"""The interactive map holds every case, stays small, loads nothing, and shows text as text."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest

from neuroprint.figures.map_html import interactive_map
from neuroprint.figures.thumbnails import data_uris


def page_data(page: str) -> dict[str, Any]:
    found = re.search(r"^const data = (.*);$", page, re.MULTILINE)
    assert found is not None
    return json.loads(found.group(1))  # type: ignore[no-any-return]


class TestInteractiveMap:
    @pytest.mark.parametrize("n", [3, 1251])
    def test_the_page_holds_every_case_and_stays_small(self, n: int, cohort: Any) -> None:
        points, centers = cohort(n)
        ids = [f"case-{i}" for i in range(n)]
        noise = np.random.default_rng(0).integers(0, 255, (n, 120, 100), dtype=np.uint8)
        page = interactive_map(points, ids, centers, np.arange(n) / 2, dict(zip(ids, noise, strict=True)), "a cohort")
        assert len(page.encode()) < 300_000 + 5_000 * n
        data = page_data(page)
        assert data["ids"] == ids
        np.testing.assert_allclose(data["x"], points[:, 0], atol=1e-4)
        np.testing.assert_allclose(np.transpose(data["centers"]), centers, atol=0.051)
        assert data["sides"] == ["left" if x < 0 else "right" for x in centers[:, 0]]
        assert data["volumes"][2] == 1.0
        assert all(uri.startswith("data:image/jpeg;base64,") for uri in data["pictures"])
        assert [axis["label"][:-5] for axis in data["axes"]] == ["left-right x", "back-front y", "down-up z"]

    def test_the_page_loads_nothing_from_elsewhere(self, cohort: Any) -> None:
        page = interactive_map(*cohort(3)[:1], ["a", "b", "c"], cohort(3)[1], None, None, "t")
        assert not re.search(r"<(script|img|link|iframe)[^>]+(src|href)=", page)
        assert "default-src 'none'" in page
        assert page_data(page)["pictures"] == [None, None, None]
        assert page_data(page)["volumes"] is None

    def test_ids_and_title_cannot_become_markup(self, cohort: Any) -> None:
        evil = "</script><img src=x onerror=alert(1)>"
        points, centers = cohort(3)
        page = interactive_map(points, [evil, "b & c", '"d"'], centers, None, None, evil)
        assert evil not in page
        assert page_data(page)["ids"][0] == evil

    def test_unknown_centers_and_own_midlines(self, cohort: Any) -> None:
        points, centers = cohort(4)
        centers[:, 0] = [-100.0, -140.0, np.nan, -110.0]
        data = page_data(interactive_map(points, list("abcd"), centers, None, None, "", midline_mm=-120.0))
        assert data["sides"] == ["right", "left", "unknown", "right"]
        assert data["centers"][1][2] is None
        assert np.mean(data["axes"][0]["range"]) == pytest.approx(-120.0)
        own = np.array([-90.0, -150.0, 0.0, -110.0])
        data = page_data(interactive_map(points, list("abcd"), centers, None, None, "", midline_mm=own))
        assert data["sides"] == ["left", "right", "unknown", "midline"]

    def test_pictures_shrink_to_the_budget_and_stop_at_it(self) -> None:
        pictures = list(np.random.default_rng(0).integers(0, 255, (40, 200, 200), dtype=np.uint8))
        for budget in (2_000_000, 200_000, 20_000):
            uris = data_uris(pictures, budget)
            assert sum(len(uri or "") for uri in uris) <= budget
            assert (None in uris) == (budget == 20_000)
        assert data_uris([None, *pictures[:1]], 10**6)[0] is None
