"""Where the time of a sweep of 100 configurations goes, from an empty feature store and from a full one.

    python benchmarks/sweep.py [--figures] [--launcher joblib] [--jobs 100] [--cases 80] [--repeats 1] [--json FILE]

5 levels x 10 poolings x 2 projections on the default phantoms, in a folder of its own, as ``python run.py -m`` runs them in
one process; then once more from the full feature store, as another experiment of the MLflow store that is now there.
What the parts cost is measured around the functions that do them, each without the others that it calls. Processor time
beside wall-clock time: it says more where other programs run. With ``--launcher`` the jobs run in other processes, of which
only the whole is seen. Also: ``python run.py --help``, and one run from the full store.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from neuroprint.cli.environment import prepare_process

ROOT = Path(__file__).parents[1]
LAYERS = ("0", "1", "2", "3", "4")
POOLINGS = (
    "mean",
    "max",
    "std",
    "mean_std",
    "gem",
    "quantile",
    "top_mean",
    "foreground_mean",
    "pyramid",
    "spatial_softmax",
)
PROJECTIONS = ("none", "pca")

# Where each part of the time goes: module, class in it or None, and its functions, by the names they are called by.
PARTS: dict[str, list[tuple[str, str | None, tuple[str, ...]]]] = {
    "extraction": [
        ("neuroprint.experiment.session", "Session", ("cohort",)),
        ("neuroprint.experiment.run", None, ("embed_experiment",)),
    ],
    "evaluation": [
        ("neuroprint.experiment.run", None, ("evaluate_experiment",)),
        ("neuroprint.experiment.summary", None, ("leaderboards",)),
    ],
    "tables and figures": [
        ("neuroprint.experiment.run", None, ("save_tables", "save_pictures")),
        ("neuroprint.experiment.summary", None, ("_draw",)),
    ],
    "MLflow": [
        ("neuroprint.tracking.store", "TrackingStore", ("_open", "create", "log", "log_dataset", "log_folder", "end")),
        ("neuroprint.tracking.store", "TrackingStore", ("search", "reopen")),
        ("neuroprint.experiment.summary", None, ("write_views",)),
    ],
    "composing": [
        ("neuroprint.experiment.sweep", None, ("_compose",)),
        ("neuroprint.experiment.experiment", "Experiment", ("identity",)),
        ("hydra._internal.config_loader_impl", "ConfigLoaderImpl", ("load_sweep_config", "load_configuration")),
    ],
}


class Clock:
    """Time by part, without that of the parts inside it."""

    def __init__(self) -> None:
        self.wall: dict[str, float] = defaultdict(float)
        self.processor: dict[str, float] = defaultdict(float)
        self._open: list[str] = ["start-up and all else"]
        self._last = (time.perf_counter(), time.process_time())

    def _turn(self) -> None:
        now = (time.perf_counter(), time.process_time())
        self.wall[self._open[-1]] += now[0] - self._last[0]
        self.processor[self._open[-1]] += now[1] - self._last[1]
        self._last = now

    def around(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def timed(*arguments: Any, **named: Any) -> Any:
            self._turn()
            self._open.append(part)
            try:
                return function(*arguments, **named)
            finally:
                self._turn()
                self._open.pop()

        return timed

    def stop(self) -> dict[str, dict[str, float]]:
        self._turn()
        return {part: {"wall_s": self.wall[part], "processor_s": self.processor[part]} for part in self.wall}


def run_here(arguments: list[str], out: Path) -> None:
    """``python run.py ...`` in this process, with a clock around its parts."""
    from importlib import import_module

    clock = Clock()
    prepare_process()  # before what follows is loaded
    for part, places in PARTS.items():
        for module, owner, names in places:
            where: Any = import_module(module)
            where = getattr(where, owner) if owner else where
            for name in names:
                setattr(where, name, clock.around(part, getattr(where, name)))
    from neuroprint.cli.application import run

    code: Any = 0
    try:
        run(arguments)
    except SystemExit as done:
        code = done.code
    out.write_text(json.dumps(clock.stop()), encoding="utf-8")
    sys.exit(code)


def timed(command: list[str], folder: Path) -> float:
    started = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    return time.perf_counter() - started


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "NEUROPRINT_CACHE": str(folder / "cache")}


def parts_of(arguments: list[str], folder: Path) -> dict[str, dict[str, float]]:
    out = folder / "parts.json"
    timed([sys.executable, __file__, "--inside", str(out), *arguments], folder)
    return dict(json.loads(out.read_text()))


def main() -> None:
    if sys.argv[1:2] == ["--inside"]:
        run_here(sys.argv[3:], Path(sys.argv[2]))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--figures", action="store_true")
    parser.add_argument("--launcher", help="Hydra's: joblib shares the cores among processes")
    parser.add_argument("--jobs", type=int, default=100, help="20 for each pooling; fewer to try it out")
    parser.add_argument("--cases", type=int, default=80)
    parser.add_argument("--repeats", type=int, default=1, help="of the sweep from the full store; the other runs once")
    parser.add_argument(
        "--phantoms", type=Path, help="the folder of cohorts, if phantoms were made before: .neuroprint/phantom"
    )
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    poolings = POOLINGS[: max(1, options.jobs // (len(LAYERS) * len(PROJECTIONS)))]
    sweep = ["-m", f"layer={','.join(LAYERS)}", f"pooling={','.join(poolings)}", f"projection={','.join(PROJECTIONS)}"]
    jobs = len(LAYERS) * len(poolings) * len(PROJECTIONS)
    where = [f"dataset.cases={options.cases}", f"figures={str(options.figures).lower()}"]
    where += [f"dataset.root={options.phantoms}"] if options.phantoms else []
    sweep += [f"hydra/launcher={options.launcher}"] if options.launcher else []
    found: dict[str, list[dict[str, dict[str, float]]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # Phantoms are made before any clock starts.
        timed([sys.executable, str(ROOT / "run.py"), "encoder=voxels", "tracking.root=phantoms", *where], folder)
        where += ["store.root=store", "tracking.root=mlruns"]
        found["empty store"].append(parts_of([*sweep, *where], folder))
        for repeat in range(options.repeats):
            found["full store"].append(parts_of([*sweep, *where, f"tracking.experiment=again{repeat}"], folder))
        help_s = [timed([sys.executable, str(ROOT / "run.py"), "--help"], folder) for _ in range(5)]
        single = [sys.executable, str(ROOT / "run.py"), *where]
        single_s = [timed([*single, f"tracking.experiment=single{n}"], folder) for n in range(max(5, options.repeats))]
    print(
        f"{jobs} configurations, {options.cases} phantoms, {'with' if options.figures else 'without'} figures; medians\n"
    )
    print("| part | " + " | ".join(f"{state}: s | processor s" for state in found) + " |")
    print("| --- |" + " --- | --- |" * len(found))
    for part in [*PARTS, "start-up and all else", "all"]:
        cells = [part]
        for measured in found.values():
            for key in ("wall_s", "processor_s"):
                sums = [
                    sum(one[name][key] for name in (one if part == "all" else [part]) if name in one)
                    for one in measured
                ]
                cells.append(f"{statistics.median(sums):.1f}")
        print("| " + " | ".join(cells) + " |")
    print(f"\n`python run.py --help`: {statistics.median(help_s):.2f} s")
    print(f"\none run from the full store: {statistics.median(single_s):.1f} s")
    if options.json:
        options.json.write_text(json.dumps({"sweep": found, "help_s": help_s, "single_s": single_s}, indent=2) + "\n")


if __name__ == "__main__":
    main()
