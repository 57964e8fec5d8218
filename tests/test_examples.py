"""The examples in docstrings run, and everything that ``import neuroprint`` offers has one."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import neuroprint

OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def modules() -> list[str]:
    """Every module of the package; ``__main__`` would run it."""
    found = pkgutil.walk_packages(neuroprint.__path__, "neuroprint.")
    return [module.name for module in found if not module.name.endswith("__main__")]


def with_examples() -> list[str]:
    root = Path(neuroprint.__path__[0]).parent
    places = {name: root / Path(*name.split(".")) for name in modules()}
    texts = {name: path / "__init__.py" if path.is_dir() else path.with_suffix(".py") for name, path in places.items()}
    return [name for name, path in texts.items() if ">>> " in path.read_text(encoding="utf-8")]


def offered() -> Iterator[tuple[str, Any]]:
    """The public API's functions, classes and their public methods."""
    for name in neuroprint.__all__:
        thing = getattr(neuroprint, name)
        if inspect.ismodule(thing):
            yield from ((f"{name}.{part}", getattr(thing, part)) for part in thing.__all__)
        elif callable(thing):
            yield name, thing


@pytest.fixture(scope="module")
def empty_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the examples run: what one has computed, such as phantoms, the next finds."""
    return tmp_path_factory.mktemp("examples")


@pytest.mark.parametrize("name", with_examples())
def test_the_examples_of_a_module_run(name: str, empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(empty_folder)
    monkeypatch.delenv("NEUROPRINT_CACHE", raising=False)
    failed, tried = doctest.testmod(importlib.import_module(name), optionflags=OPTIONS)
    assert tried and not failed


@pytest.mark.parametrize(("name", "thing"), offered(), ids=[name for name, _ in offered()])
def test_what_is_offered_has_an_example(name: str, thing: Any) -> None:
    if inspect.isclass(thing) and issubclass(thing, Exception):
        return
    parts = [thing]
    if inspect.isclass(thing):
        members = [getattr(thing, part) for part, _ in inspect.getmembers(thing) if not part.startswith("_")]
        parts += [part for part in members if callable(part)]
    assert any(">>> " in (inspect.getdoc(part) or "") for part in parts), f"{name} shows no example"


@pytest.mark.parametrize(
    "thing", [thing for _, thing in offered() if inspect.isclass(thing)], ids=lambda it: it.__name__
)
def test_every_method_stands_in_an_example(thing: type) -> None:
    """But for those of tasks, which neuroprint calls: there the example shows how they are written."""
    if issubclass(thing, Exception | neuroprint.tasks.Task):
        return
    lines = [line for line in inspect.getsource(thing).splitlines() if line.lstrip().startswith((">>> ", "... "))]
    for name, member in vars(thing).items():
        if not name.startswith("_") and callable(getattr(member, "__func__", member)):
            assert any(f".{name}(" in line for line in lines), f"{thing.__name__}.{name} stands in no example"
