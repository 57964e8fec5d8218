"""A node becomes the object that Hydra would make of it, and what cannot be made is said in one line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import hydra.utils
import pytest
from omegaconf import OmegaConf

from neuroprint.catalog.gate import Gate
from neuroprint.catalog.instantiate import instantiate, locate, plain
from neuroprint.errors import NeuroprintError

THINGS = """
from neuroprint.errors import CaseError

class Thing:
    def __init__(self, *args, **kwargs):
        self.args, self.kwargs = args, kwargs
    def __eq__(self, other):
        return type(self) is type(other) and (self.args, self.kwargs) == (other.args, other.kwargs)
    def __repr__(self):
        return f"Thing(*{self.args}, **{self.kwargs})"
    @classmethod
    def made(cls, **kwargs):
        return cls("made", **kwargs)

class Outer:
    class Inner(Thing):
        pass

def fails(**kwargs):
    raise ValueError("two\\nlines   of it")

def silent():
    raise RuntimeError

def torn():
    raise CaseError("a", "its file is torn")

number = 3
"""
THING = {"_target_": "my_things.Thing"}


@pytest.fixture(autouse=True)
def my_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """A module ``my_things`` to name, and a way to write others."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)

    write("my_things", THINGS)
    return write


@pytest.mark.parametrize(
    "node",
    [
        THING,
        {**THING, "a": 1, "b": None, "c": "text", "d": 0.5, "e": True},
        {**THING, "a": [1, [2, 3]], "b": {"x": {"y": [1]}}, "c": []},
        {**THING, "_args_": [1, [2]], "a": 3},
        {**THING, "inner": {**THING, "deep": {**THING, "a": 1}}},
        {**THING, "steps": [THING, {**THING, "_args_": [THING]}], "by_name": {"one": THING, "two": 2}},
        {**THING, "_args_": [{**THING, "a": 1}]},
        {**THING, "_recursive_": False, "inner": {**THING, "a": 1}, "steps": [THING]},
        {**THING, "inner": {**THING, "_recursive_": False, "deep": THING}, "other": THING},
        {**THING, "_convert_": "all", "inner": {"a": [1]}},
        {"_target_": "my_things.Thing.made", "a": 1},
        {"_target_": "my_things.Outer.Inner", "a": 1},
        {"_target_": "builtins.dict", "a": 1, "b": [1]},
        {"_target_": "collections.Counter", "_args_": ["aab"]},
    ],
    ids=lambda node: str(node).replace("my_things.", ""),
)
@pytest.mark.parametrize("of_omegaconf", [False, True], ids=["plain", "omegaconf"])
def test_an_object_is_the_one_that_hydra_makes(node: dict[str, Any], of_omegaconf: bool) -> None:
    expected = hydra.utils.instantiate(node, _convert_="all")
    found = instantiate(OmegaConf.create(node) if of_omegaconf else node, "example")
    assert type(found) is type(expected)
    assert found == expected


def test_a_partial_is_the_one_that_hydra_makes() -> None:
    node = {**THING, "_partial_": True, "_args_": [1], "a": {**THING, "b": 2}}
    found, expected = instantiate(node, "example"), hydra.utils.instantiate(node)
    assert isinstance(found, partial)
    assert (found.func, found.args, found.keywords) == (expected.func, expected.args, expected.keywords)
    assert found(b=3) == expected(b=3)


def test_arguments_from_elsewhere_win_over_the_nodes() -> None:
    node = {**THING, "a": 1, "b": 2}
    assert instantiate(node, "example", b=3, c=4) == hydra.utils.instantiate(node, b=3, c=4)
    assert node == {**THING, "a": 1, "b": 2}


def test_keys_that_are_there_for_sweeps_only_are_not_handed_over() -> None:
    node = {**THING, "a": 1, "radius_mm": 20.0, "column": None, "_unused_": ["radius_mm", "column"]}
    assert instantiate(node, "task").kwargs == {"a": 1}
    assert instantiate(node, "task", column="grade").kwargs == {"a": 1}
    assert instantiate({**THING, "_unused_": ["radius_mm"]}, "task").kwargs == {}


def test_interpolations_are_resolved_where_the_node_is_a_part_of_a_configuration() -> None:
    config = OmegaConf.create({"components": 8, "projection": {**THING, "n": "${components}", "m": "${.n}"}})
    assert instantiate(config.projection, "projection").kwargs == {"n": 8, "m": 8}


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ({"a": "???"}, "^a: .*[Mm]issing"),
        ({"inner": {"a": "???"}}, r"^inner\.a: .*[Mm]issing"),
        ({"a": "${nowhere}"}, "^a: .*nowhere"),
    ],
)
def test_a_value_that_is_missing_is_named(node: dict[str, Any], said: str) -> None:
    with pytest.raises(NeuroprintError, match=said) as caught:
        plain(OmegaConf.create(node))
    assert "\n" not in str(caught.value)


def test_what_is_plain_already_is_left_as_it_is() -> None:
    node = {"a": [1], "b": "${not resolved}"}
    assert plain(node) is node
    assert plain(OmegaConf.create({"a": {"b": (1, 2)}})) == {"a": {"b": [1, 2]}}


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("nowhere.Thing", "example: nowhere.Thing cannot be found: there is no such module"),
        ("my_things.Nothing", "example: my_things.Nothing cannot be found: my_things has no Nothing"),
        ("my_things.Thing.Nothing", "example: my_things.Thing.Nothing cannot be found: my_things has no Nothing"),
        ("neuroprint.nothing.Thing", "neuroprint.nothing.Thing cannot be found: neuroprint has no nothing"),
        ("Thing", "example: Thing cannot be found: there is no such module"),
        ("", "example: .*cannot be"),
        (".Thing", "example: .Thing cannot be"),
        ("my_things..Thing", "example: my_things..Thing cannot be"),
        ("my_things.number", "example: my_things.number cannot be called"),
        ("my_things", "example: my_things cannot be called"),
        ("my_things.fails", r"example: my_things.fails cannot be built: two lines of it$"),
        ("my_things.silent", "example: my_things.silent cannot be built: RuntimeError"),
        ("my_things.torn", "^case a: its file is torn$"),
        ("fractions.Fraction", "example: fractions.Fraction cannot be built: .*wrong"),
    ],
)
def test_what_cannot_be_made_is_said_in_one_line(target: str, said: str) -> None:
    with pytest.raises(NeuroprintError, match=said) as caught:
        instantiate({"_target_": target, **({"wrong": 1} if "Fraction" in target else {})}, "example")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("word", ["_args_", "_unused_"])
def test_words_with_a_value_that_they_cannot_have_are_said_in_one_line(word: str) -> None:
    with pytest.raises(NeuroprintError, match=r"example: my_things\.Thing cannot be built: .*int.*iter"):
        instantiate({**THING, word: 5}, "example")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import nowhere_at_all", "No module named 'nowhere_at_all'"),
        ("from os import nothing_at_all", "cannot import name 'nothing_at_all'"),
        ("x = 1 +", "invalid syntax"),
        ("raise RuntimeError('no GPU\\nhere')", "no GPU here"),
        ("x = undefined", "'undefined' is not defined"),
    ],
)
def test_a_module_that_fails_on_import_says_why(my_module: Callable[[str, str], None], text: str, said: str) -> None:
    my_module("my_broken", text)
    with pytest.raises(NeuroprintError, match=f"pooling: my_broken.Thing cannot be imported: .*{said}") as caught:
        instantiate({"_target_": "my_broken.Thing"}, "pooling")
    assert "\n" not in str(caught.value)


def test_a_name_is_located_below_the_longest_module(my_module: Callable[[str, str], None]) -> None:
    assert locate("os.path.join", "example") is hydra.utils.get_method("os.path.join")
    assert locate("my_things.Outer.Inner", "example") is hydra.utils.get_class("my_things.Outer.Inner")
    assert locate("xml.dom.minidom", "example").__name__ == "xml.dom.minidom"  # a module that is not imported yet


def test_a_node_from_elsewhere_passes_the_gate_first() -> None:
    node = {"_target_": "my_things.fails"}
    with pytest.raises(NeuroprintError, match=r"not one of neuroprint's own.*--trust my_things"):
        instantiate(node, "pooling", Gate())
    with pytest.raises(NeuroprintError, match="cannot be built"):
        instantiate(node, "pooling", Gate(["my_things"]))
    with pytest.raises(NeuroprintError, match=r"pooling\.inner: my_things\.Thing may not be named"):
        instantiate(
            OmegaConf.create({"_target_": "neuroprint.embedding.poolings.mean", "_partial_": True, "inner": THING}),
            "pooling",
            Gate(),
        )
