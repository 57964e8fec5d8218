"""The notebook runs in a fresh kernel, and shows what the code as it is gives."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
from nbformat import NotebookNode

ROOT = Path(__file__).parents[1]
NUMBER = re.compile(r"-?\d+\.\d+(?:e[+-]?\d+)?")
REMEDY = "python docs/notebook.py writes it anew"


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    specification = importlib.util.spec_from_file_location("make_notebook", ROOT / "docs" / "notebook.py")
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def committed(maker: ModuleType) -> NotebookNode:
    return nbformat.read(maker.NOTEBOOK, as_version=4)


@pytest.fixture(scope="module")
def executed(maker: ModuleType, committed: NotebookNode, tmp_path_factory: pytest.TempPathFactory) -> NotebookNode:
    return maker.executed(committed, tmp_path_factory.mktemp("notebook"))


def shown(cell: NotebookNode) -> list[tuple[str, str]]:
    """What stands below a cell, piece by piece: its kind, and its text where it is one."""
    found = []
    for output in cell.get("outputs", []):
        if output.output_type == "stream":
            found.append((output.name, output.text))
        for kind, content in sorted(output.get("data", {}).items()):
            found.append((kind, content if kind.startswith("text/") else ""))
    return found


def agree(one: str, other: str) -> bool:
    """Whether two texts are the same but for one unit in the last printed digit of a number."""
    if NUMBER.split(one) != NUMBER.split(other):
        return False
    return all(_near(*pair) for pair in zip(NUMBER.findall(one), NUMBER.findall(other), strict=True))


def _near(one: str, other: str) -> bool:
    decimals = [len(number.partition("e")[0].partition(".")[2]) for number in (one, other)]
    return decimals[0] == decimals[1] and abs(float(one) - float(other)) < 1.5 * 10.0 ** -decimals[0]


def test_the_outputs_are_those_of_the_code(committed, executed):
    """Cells without outputs are not compared."""
    for old, new in zip(committed.cells, executed.cells, strict=True):
        if not old.get("outputs"):
            continue
        before, now = shown(old), shown(new)
        assert [kind for kind, _ in before] == [kind for kind, _ in now], f"cell {old.id} is stale: {REMEDY}"
        for (kind, text), (_, again) in zip(before, now, strict=True):
            assert agree(text, again), f"cell {old.id} is stale in {kind}: {REMEDY}\n{text}\n{again}"


def test_outputs_are_made_of_all_cells_or_of_none(committed, executed):
    with_outputs = [[cell.id for cell in notebook.cells if cell.get("outputs")] for notebook in (committed, executed)]
    assert with_outputs[0] in ([], with_outputs[1]), REMEDY


def test_tables_and_pictures_are_shown(executed):
    kinds = [kind for cell in executed.cells for kind, _ in shown(cell)]
    assert kinds.count("text/html") >= 4 and kinds.count("image/png") >= 2


def test_nothing_is_shown_that_differs_from_one_execution_to_the_next(executed, maker):
    pieces = [piece for cell in executed.cells for piece in shown(cell)]
    assert "stderr" not in {kind for kind, _ in pieces}
    for _, text in pieces:
        assert not re.search(r"(?<![\w<.])/\w+/|\bat 0x|\b20\d\d-\d\d-\d\d", text), text
    assert executed.metadata == maker.METADATA
    assert not any(cell.metadata for cell in executed.cells)


def test_neither_hydra_nor_mlflow_is_loaded(executed):
    last = executed.cells[-1]
    assert "sys.modules" in last.source and shown(last) == [("text/plain", "[]")]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("0.46 [0.40, 0.52]", "0.46 [0.41, 0.52]", True),
        ("11.8", "11.7", True),
        ("0.46", "0.48", False),
        ("0.46", "0.460", False),
        ("Phantom_00003", "Phantom_00004", False),
        ("24 cases", "25 cases", False),
        ("-0.01", "0.00", True),
        ("stage2 0.46", "stage4 0.46", False),
    ],
)
def test_one_unit_in_the_last_digit_is_allowed(one, other, same):
    assert agree(one, other) == same


def test_a_stale_output_is_found(committed, executed, maker):
    stale = nbformat.from_dict(executed)
    cell = next(cell for cell in stale.cells if any(kind == "text/html" for kind, _ in shown(cell)))
    cell.outputs[0].data["text/html"] = cell.outputs[0].data["text/html"].replace("oracle", "prophet")
    with pytest.raises(AssertionError, match=f"cell {cell.id} is stale"):
        test_the_outputs_are_those_of_the_code(stale, executed)
