"""What is installed works without the checkout: the wheel, unpacked, in an empty folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_TIMEOUT_S = 300
IMPORT = """
import json, os, sys
before = dict(os.environ)
import neuroprint
heavy = {"hydra", "matplotlib", "mlflow", "monai", "numpy", "omegaconf", "pandas", "sklearn", "torch"}
print(json.dumps({
    "file": neuroprint.__file__,
    "heavy": sorted(heavy & set(sys.modules)),
    "own": sorted(name for name in sys.modules if name.startswith("neuroprint")),
    "changed": before != dict(os.environ),
}))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked as an installer does."""
    place = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(place)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = place.glob("neuroprint-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place / "site")
    return place / "site"


@pytest.fixture
def python(site: Path, tmp_path: Path):
    """Run Python in an empty folder, with the wheel before the checkout."""
    dropped = ("NEUROPRINT_", "MLFLOW_", "PYTHONPATH")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env={**kept, "PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"},
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def files(folder: Path, pattern: str = "*") -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob(pattern) if path.is_file()}


def test_the_menu_and_the_weights_are_in_it(site):
    assert files(site / "neuroprint" / "conf") == files(ROOT / "conf")
    for pattern in ("*.safetensors", "*.css", "*.html", "*.js", "*.mplstyle"):
        packed, own = files(site / "neuroprint", pattern), files(ROOT / "src" / "neuroprint", pattern)
        assert packed == own and own, pattern


def test_nothing_else_is_in_it(site):
    assert {path.name.partition("-")[0] for path in site.iterdir()} == {"neuroprint", "hydra_plugins"}
    assert [path.name for path in (site / "hydra_plugins").iterdir()] == ["neuroprint_launchers"]
    assert {path.suffix for path in (site / "neuroprint").rglob("*") if path.is_file()} == {
        *(".css", ".html", ".js", ".mplstyle", ".py", ".safetensors", ".typed", ".yaml")
    }
    assert files(site, "LICENSE")


def test_importing_it_loads_nothing_and_changes_nothing(python, site):
    found = json.loads(python("-c", IMPORT))
    assert Path(found.pop("file")).is_relative_to(site)
    assert found == {"heavy": [], "own": ["neuroprint"], "changed": False}


def test_its_own_menu_is_used_whatever_lies_beside_it(python, site):
    other = site.parent / "conf" / "config.yaml"  # as of a project that installs into a folder of its own
    other.parent.mkdir(exist_ok=True)
    other.write_text("theirs: true\n", encoding="utf-8")
    try:
        conf = python("-c", "from neuroprint.catalog.menu import CONF; print(CONF)").strip()
    finally:
        other.unlink()
    assert Path(conf) == site / "neuroprint" / "conf"


@pytest.mark.slow
def test_a_sweep_works_from_it(python, small_cohort, tmp_path):
    choices = ("dataset=brats", f"dataset.root={small_cohort}", "pooling=mean,max", "folds=3", "figures=false")
    python("-m", "neuroprint", "run", "-m", *choices)
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} <= {".neuroprint", "mlruns"}
    (board,) = json.loads(python("-m", "neuroprint", "leaderboard", "--json"))["leaderboards"]
    assert {row["name"] for row in board["rows"] if row["role"] == "candidate"} == {"stage4 · mean", "stage4 · max"}


def test_the_wheel_says_that_it_is_typed_and_whose_work_is_in_it(site: Path) -> None:
    assert (site / "neuroprint" / "py.typed").is_file()
    (notice,) = site.glob("neuroprint-*.dist-info/licenses/NOTICE")
    assert "ICBM 152" in notice.read_text(encoding="utf-8")


def test_what_speaks_of_a_version_speaks_of_this_one() -> None:
    from neuroprint import __version__

    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\n## {__version__}\n" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    ruff = next(line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("ruff=="))
    assert f"rev: v{ruff.removeprefix('ruff==')}\n" in (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
