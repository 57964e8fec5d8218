"""The page of an answer: it asks nothing of a network, believes no name, and its pictures are turned as it says."""

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from neuroprint.bundle.bundle import Bundle
from neuroprint.bundle.map_drawing import map_drawing
from neuroprint.bundle.novelty import Novelty
from neuroprint.bundle.plates import case_plates
from neuroprint.bundle.report import report
from neuroprint.bundle.score_table import scale_ends, score_table
from neuroprint.data.facts import picture_mm
from neuroprint.data.mips import PLANES, as_gray, as_mask, project, projected_mm
from neuroprint.data.outlines import outline_path
from neuroprint.evaluation.metric import Metric


@pytest.fixture(scope="module")
def bundle(bundle_folder):
    return Bundle.open(bundle_folder)


@pytest.fixture(scope="module")
def found(bundle, small_cohort):
    return bundle.query(small_cohort / "Small_00009", 5, "grade")


@pytest.fixture(scope="module")
def page(found, bundle):
    return report(found, bundle)


class Page(HTMLParser):
    """Every element of a page with its attributes, and the text."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.said, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in ("meta", "input", "br", "image", "path", "line"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.said.append(data)


def test_the_page_is_one_sound_file_without_a_script_or_a_request(page):
    read = Page(page)
    assert read.open == []
    assert not [tag for tag, _ in read.elements if tag in ("script", "link", "iframe", "object", "base", "form")]
    for _, attributes in read.elements:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "action", "poster", "xlink:href"):
            assert attributes.get(name, "data:image/png").startswith("data:image/png")
    assert not re.search(r"url\(|@import|https?://", page)
    assert "default-src 'none'" in page


def test_the_page_shows_query_and_matches_in_three_planes_with_outlines(page, found):
    drawn = [attributes["aria-label"] for tag, attributes in Page(page).elements if attributes.get("class") == "plate"]
    cases = [found.query.case, *(match.case for match in found.matches)]
    planes = ("axial", "coronal", "sagittal")
    assert drawn == [
        f"{plane} maximum intensity projection of {case}, tumor outlined" for case in cases for plane in planes
    ]
    assert page.count('class="outline"') == 18


def test_the_page_says_what_a_reader_must_know(page, found, bundle):
    said = " ".join(" ".join(Page(page).said).split())
    for match in found.matches:
        assert f"{match.similarity:.3f}" in said and f"{match.distance_mm:.1f} mm" in said
    scores = bundle.scores["sweep"]
    low, high = (scores[f"retrieval/p_at_5_{bound}"] for bound in ("lo", "hi"))
    expected = [
        *("Radiological convention", "patient's right (R) is on the left", "placed between its 5 nearest cases"),
        *("permutation p =", f"{low:.2f} to {high:.2f}", "tumor's center lies within 60 mm", "For research"),
    ]
    for words in expected:
        assert words in said
    assert "unlike anything" not in said


def test_a_query_unlike_the_gallery_carries_a_warning(found, bundle):
    page = report(replace(found, novelty=Novelty(0.01, 99)), bundle)
    assert 'class="remark unlike"' in page and "unlike anything in the gallery" in page
    assert 'class="remark unlike"' not in report(replace(found, known_as="Small_00001"), bundle)


def test_without_labels_the_page_says_so(found, bundle, small_cohort, tmp_path):
    bare = replace(found.query, side=None, volume_cm3=None, center_mm=None)
    none = {plane: np.zeros_like(mask) for plane, mask in found.query.facts.outlines.items()}
    bare = replace(bare, facts=replace(found.query.facts, outlines=none))
    matches = tuple(replace(match, distance_mm=None, percentile=None) for match in found.matches)
    page = report(replace(found, query=bare, matches=matches, column=None, group=None), bundle)
    assert page.count("not known") >= 7 and "1 of the 6 cases shown have no known tumor outline" in page
    assert page.count('class="outline"') == 15
    read = Page(re.sub("<style>.*?</style>", "", page, flags=re.DOTALL))
    said = " ".join([*read.said, *(str(value) for _, attributes in read.elements for value in attributes.values())])
    assert "None" not in read.said and "nan" not in re.sub(r"base64,\S+", "", said).lower()


def test_names_are_not_believed(found, bundle):
    evil = '<script>alert("1")</script>&'
    hostile = replace(
        found,
        query=replace(found.query, case=evil),
        column=None,
        group=replace(found.group, shares={evil: 1.0}, base_rates={evil: 1.0}),
        known_as=evil,
    )
    far = ({*range(9)} - {match.row for match in found.matches}).pop()
    ids = [evil if row == far else case for row, case in enumerate(bundle.cases["case"])]
    cases = bundle.cases.assign(case=ids, side=evil)
    other = replace(bundle, cases=cases, manifest={**bundle.manifest, "name": evil, "versions": {evil: evil}})
    page = report(hostile, other)
    assert "<script" not in page and "&lt;script&gt;" in page
    assert Page(page).open == []


def front_left_high():
    """A brain whose front, left and top octant holds the tumor, on a grid that runs to the left and to the back."""
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    brain = np.full((40, 40, 40), 50.0)
    label = np.zeros((40, 40, 40))
    label[28:36, 4:12, 28:36] = 1  # x index grows to the left, y index to the back
    brain[label > 0] = 250
    return as_gray(project(brain, affine)), as_mask(project(label, affine))


def test_letters_pictures_and_outlines_agree_on_which_side_is_which():
    drawn = re.findall(r"<svg class=\"plate\".*?</svg>", case_plates(*front_left_high(), "case"))
    # Left of the patient is on the right of the picture, front is above or on the left, up is above.
    expected = {
        "axial": ("RLAP", "right", "top"),
        "coronal": ("RLSI", "right", "top"),
        "sagittal": ("APSI", "left", "top"),
    }
    for svg, (plane, (letters, across, up)) in zip(drawn, expected.items(), strict=True):
        assert f"{plane} maximum intensity projection" in svg
        texts = {text: (float(x), float(y)) for x, y, text in re.findall(r'<text x="(\S+)" y="(\S+)">(\w)</text>', svg)}
        assert sorted(texts) == sorted(letters)
        before, after, above, below = (texts[letter] for letter in letters)
        assert before[0] < above[0] < after[0] and above[1] < before[1] < below[1]
        encoded = re.search(r"base64,([^\"]+)", svg)[1]
        picture = np.array(Image.open(io.BytesIO(base64.b64decode(encoded)))).astype(float)
        rows, columns = np.nonzero(picture > 200)
        outline = np.array(re.findall(r"([\d.]+) ([\d.]+)", re.search(r'class="outline" d="([^"]+)"', svg)[1]), float)
        for x, y in ((columns.mean() + 0.5, rows.mean() + 0.5), outline.mean(axis=0)):
            assert (x > picture.shape[1] / 2) == (across == "right")
            assert (y < picture.shape[0] / 2) == (up == "top")
        assert outline.min(axis=0) == pytest.approx([columns.min(), rows.min()], abs=0.6)
        assert outline.max(axis=0) == pytest.approx([columns.max() + 1, rows.max() + 1], abs=0.6)


def drawn_mm(svg):
    """Width and height of a plate's picture, in the drawing's units."""
    across, down = map(float, re.search(r"scale\((\S+) (\S+)\)", svg).groups())
    width, height = map(float, re.search(r'<image width="(\d+)" height="(\d+)"', svg).groups())
    return np.array([across * width, down * height])


def test_plates_are_of_one_size_and_their_pictures_of_one_scale():
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    plates, extents = [], []
    for shape in ((150, 180, 50), (100, 120, 30)):
        mips, sizes = as_gray(project(np.random.default_rng(0).random(shape), affine)), projected_mm(shape, affine)
        svg = case_plates(mips, {}, "case", sizes, 180.0)
        plates += re.findall(r'<svg class="plate".*?</svg>', svg)
        extents += [sizes[plane][::-1] for plane in PLANES]
    assert len(set(re.findall(r'viewBox="[^"]+"', "".join(plates)))) == 1
    scales = np.array([drawn_mm(svg) / mm for svg, mm in zip(plates, extents, strict=True)])
    np.testing.assert_allclose(scales, 96 / 180, rtol=1e-3)


def test_a_report_shows_all_heads_on_one_scale(page, bundle, found):
    sizes = [picture_mm(found.query.facts), *(bundle.picture_mm(match.case) for match in found.matches)]
    extents = [size[plane][::-1] for size in sizes for plane in PLANES]
    drawn = [drawn_mm(svg) for svg in re.findall(r'<svg class="plate".*?</svg>', page)]
    scales = np.array(drawn) / np.array(extents)
    np.testing.assert_allclose(scales, scales[0, 0], rtol=1e-3)
    assert np.max(drawn) == pytest.approx(96, rel=1e-3)


def test_outlines_close_at_the_pictures_edge_and_have_holes():
    ring = np.ones((6, 6), bool)
    ring[2:4, 2:4] = False
    assert outline_path(ring).count("M") == outline_path(ring).count("Z") == 2
    assert outline_path(np.zeros((6, 6), bool)) == ""


def test_the_map_shows_every_case_and_stays_in_its_frame():
    rng = np.random.default_rng(0)
    svg = map_drawing(
        rng.normal(size=(30, 2)) * [900, 1], [f"c{n}" for n in range(30)], ["a"] * 29 + [None], [3, 4], [0, 5]
    )
    assert svg.count("<circle cx") == 30 and svg.count('class="unknown"') == 1
    places = np.array(re.findall(r'cx="([-\d.]+)" cy="([-\d.]+)"', svg), float)
    assert places.min() >= 0 and (places.max(axis=0) <= [640, 440]).all()
    one = map_drawing(np.zeros((1, 2)), ["only"], [None], [0], np.zeros(2))
    assert "nan" not in one


PRECISION = {"name": "retrieval/p_at_5", "label": "precision at 5", "headline": True, "shown": True}
ERROR = {"name": "probe/error_mm", "label": "mean error", "unit": "mm", "lower_is_better": True, "headline": True}
INSIDE = {"name": "retrieval/p_at_3", "label": "precision at 3"}
SHARED = {"metrics": [PRECISION, ERROR, INSIDE], "headline": "retrieval/p_at_5"}
SWEEP = {
    **{"retrieval/p_at_5": 0.5, "retrieval/p_at_5_lo": 0.4, "retrieval/p_at_5_hi": 0.6},
    **{"probe/error_mm": 12.4, "retrieval/p_at_3": 0.55},
}


def test_scores_are_shown_with_intervals_and_what_they_are_worth():
    chosen = {**SHARED, "sweep": SWEEP, "holdout": None, "references": {"chance": {"retrieval/p_at_5": 0.1}}}
    said = score_table(chosen, "whose tumor's center lies within 20 mm")
    assert "0.40 to 0.60" in said and "too good" in said and "random order" in said and "within 20 mm" in said
    assert "mean error, mm" in said and ">12<" in said and "precision at 3" not in said
    held = {"holdout": {"retrieval/p_at_5": 0.45}, "added": ["x", "y"], "looks": {"before": 3}}
    said = score_table({**SHARED, "sweep": SWEEP, **held}, "with the same <b>")
    assert "took no part in the choice" in said and "2 case(s) joined" in said and "3 times before" in said
    assert "same &lt;b&gt;" in said and "<b>." not in said


R2 = {"name": "probe/r2", "label": "R² of the center", "headline": True, "highest": 1.0}


@pytest.mark.parametrize(
    ("metric", "values", "ends"),
    [
        (PRECISION, {"sweep": 0.5, "chance": 0.1}, (0, 1)),
        (ERROR, {"sweep": 12.4, "voxels": 33.0, "chance": 46.0}, (0, 50)),
        (R2, {"sweep": -0.7, "voxels": 0.4, "oracle": 1.0}, (-1, 1)),
    ],
)
def test_scores_lie_on_a_scale_of_their_own_unit(metric, values, ends):
    name = metric["name"]
    bounds = {kind: {name: mean, f"{name}_lo": mean - 0.1, f"{name}_hi": mean + 0.1} for kind, mean in values.items()}
    scores = {"metrics": [metric], "headline": name, "sweep": bounds.pop("sweep"), "references": bounds}
    said = score_table(scores, "")
    assert (
        scale_ends(Metric(**metric), [bound for row in [scores["sweep"], *bounds.values()] for bound in row.values()])
        == ends
    )
    assert re.search(r'class="ends"><span>(\S+)</span><span>(\S+)</span>', said).groups() == tuple(
        f"{end:g}".replace("-", "−") for end in ends
    )
    places = [float(place) for place in re.findall(r'<b style="left:([-\d.]+)%"', said)]
    ordered = [values[kind] for kind in ("sweep", "oracle", "voxels", "chance") if kind in values]
    assert places == pytest.approx([100 * (mean - ends[0]) / (ends[1] - ends[0]) for mean in ordered], abs=0.06)
    for left, width in re.findall(r'<i style="left:([-\d.]+)%;width:([-\d.]+)%"', said):
        assert float(left) >= 0 and float(width) > 0 and float(left) + float(width) <= 100.1
    assert ("lower is better" in said) == (metric is ERROR)


@pytest.mark.parametrize("scores", [{}, {"sweep": {}, **SHARED}, {"sweep": SWEEP}, {"sweep": SWEEP, "headline": "a"}])
def test_where_there_are_no_scores_that_is_said(scores):
    assert "says nothing of how good" in score_table(scores, "")


def test_what_an_index_can_tell_stands_beside_subtraction_and_chance():
    from neuroprint.bundle.score_table import profile_table

    def row(kind, question, name, told, role="reference"):
        return {"kind": kind, "question": question, "label": "precision at 5", "name": name, "role": role, "told": told}

    page = profile_table(
        [
            row("bears", "brain_size", "mine", "0.91", "candidate"),
            row("bears", "brain_size", "voxels", "0.52"),
            row("knows", "volume", "mine <b>", "0.44 [0.30, 0.58]", "candidate"),
            row("knows", "volume", "chance", "0.31"),
            row("knows", "volume", "oracle", "1.00"),
        ]
    )
    assert page.index("what it knows") < page.index("volume: precision") < page.index("what it bears")
    assert "brain size: precision at 5" in page and "0.44 [0.30, 0.58]" in page and "1.00" not in page
    assert page.count("<td") == 6 and page.count("–") == 2
    assert profile_table([]) == ""
