"""The house: which rooms there are, that imports point one way, that a name means one thing, that no module keeps state."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "neuroprint"
# A room may import from those before it, but for `evaluation`, which stands beside the left end.
ROOMS = [
    "errors",
    "catalog",
    "data",
    "phantom",
    "prepare",
    "encoders",
    "embedding",
    "figures",
    "tasks",
    "bundle",
    "tracking",
]
ROOMS += ["experiment", "training", "cli"]
BESIDE = "evaluation"
FILES = sorted(SOURCE.rglob("*.py"))
IN_ROOMS = [path for path in FILES if path.parent != SOURCE]
# Hydra hands over nothing of ours: this one variable is how what it calls finds the session of its process.
SESSION = ("experiment/session.py", "_SESSION")


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(path: Path):
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def name(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def test_the_top_level_holds_the_rooms_and_nothing_else():
    found = {path.name for path in SOURCE.iterdir() if path.name != "__pycache__"}
    assert found == {"__init__.py", "__main__.py", "errors.py", "py.typed", *ROOMS[1:], BESIDE} - {"conf"}


@pytest.mark.parametrize("path", IN_ROOMS, ids=name)
def test_a_module_imports_from_its_own_room_and_those_before_it(path):
    own = room_of(path)
    for module in imported(path):
        if not module.startswith("neuroprint."):
            continue
        other = module.split(".")[1]
        if own == BESIDE:
            assert other in (BESIDE, "errors"), f"{name(path)} imports {module}"
        elif other == BESIDE:
            assert ROOMS.index(own) >= ROOMS.index("figures"), f"{name(path)} imports {module}"
        else:
            assert ROOMS.index(other) <= ROOMS.index(own), f"{name(path)} imports {module}"


@pytest.mark.parametrize("path", sorted((SOURCE / BESIDE).glob("*.py")), ids=name)
def test_evaluation_knows_arrays_and_nothing_of_files_networks_or_mlflow(path):
    forbidden = {"torch", "monai", "mlflow", "hydra", "omegaconf", "nibabel", "pathlib", "os", "io", "logging.handlers"}
    assert not {module.split(".")[0] for module in imported(path)} & forbidden


@pytest.mark.parametrize(
    ("package", "rooms"),
    [
        ("mlflow", {"tracking", "experiment", "training"}),
        ("hydra", {"experiment", "training", "cli"}),
        ("matplotlib", {"figures", "tasks"}),
    ],
)
def test_a_package_is_known_to_its_rooms_only(package, rooms):
    users = {room_of(path) for path in IN_ROOMS if any(module.split(".")[0] == package for module in imported(path))}
    assert users <= rooms


def test_no_public_name_is_defined_in_two_modules():
    homes = defaultdict(set)
    for path in FILES:
        for node in tree(path).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names = [node.name]
            elif isinstance(node, ast.Assign):
                names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                names = [node.target.id]
            else:
                continue
            for found in names:
                if not found.startswith("_") and found != "log":
                    homes[found].add(name(path))
    assert {found: sorted(where) for found, where in homes.items() if len(where) > 1} == {}


@pytest.mark.parametrize("path", FILES, ids=name)
def test_no_module_keeps_state_of_the_process(path):
    module = tree(path)
    for node in ast.walk(module):
        assert not isinstance(node, ast.Global), f"{name(path)} line {node.lineno}: global"
        if isinstance(node, ast.FunctionDef):
            # What takes no argument is a constant that is computed when it is first needed; all else would be state.
            cached = [ast.unparse(item) for item in node.decorator_list]
            if any(item.split("(")[0].split(".")[-1] in ("cache", "lru_cache") for item in cached):
                assert not ast.unparse(node.args), f"{name(path)} line {node.lineno}: a memory of calls"
    for node in module.body:
        value = getattr(node, "value", None)
        if not isinstance(node, ast.Assign | ast.AnnAssign) or value is None:
            continue
        target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
        where = (name(path), getattr(target, "id", ""))
        empty = isinstance(value, ast.Dict | ast.List | ast.Set) and not ast.unparse(value).strip("{}[]")
        made = isinstance(value, ast.Call) and ast.unparse(value.func).split(".")[-1] in MAKERS
        assert not (empty or made) or where == SESSION, f"{name(path)} line {node.lineno}: {ast.unparse(node)}"
        if isinstance(value, ast.Dict | ast.List | ast.Set):
            assert where[1].lstrip("_").isupper() or where[1] == "__all__", f"{name(path)} line {node.lineno}"


MAKERS = {"dict", "list", "set", "defaultdict", "OrderedDict", "deque", "ContextVar", "WeakValueDictionary", "local"}


def test_importing_neuroprint_changes_nothing_of_the_process():
    import subprocess
    import sys

    code = (
        "import os, sys, threading\n"
        "before = dict(os.environ), set(sys.modules), threading.active_count()\n"
        "import neuroprint\n"
        "heavy = {'torch', 'numpy', 'mlflow', 'hydra', 'omegaconf', 'sklearn', 'pandas', 'monai'} & set(sys.modules)\n"
        "assert dict(os.environ) == before[0] and threading.active_count() == before[2] and not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
