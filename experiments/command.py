"""What the experiments' scripts have in common: their command line, and where their runs are kept."""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from neuroprint.tracking.store import TrackingStore

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Command:
    """What was asked for.

    Attributes:
        experiment: MLflow's experiment.
        out: Folder for what is written.
        given: Keys that go to every run.
        real: Whether the cases are a folder of BraTS cases instead of phantoms.
    """

    experiment: str
    out: Path
    given: tuple[str, ...]
    real: bool

    @property
    def store(self) -> TrackingStore:
        roots = [item.partition("=")[2] for item in self.given if item.startswith("tracking.root=")]
        return TrackingStore(Path(roots[-1] if roots else "mlruns"), self.experiment)

    def run(self, *arguments: str) -> None:
        """``python run.py`` with these arguments."""
        subprocess.run([sys.executable, ROOT / "run.py", *arguments], check=True)


def parse(about: str, folder: Path, takes_scans: bool = True) -> Command:
    """The command line of the experiment that lies in a folder, and bears its name.

    Args:
        about: The script's docstring, whose first line is its help.
        folder: Where the script lies.
        takes_scans: Whether real scans can stand for phantoms.
    """
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.set_defaults(real=None)
    if takes_scans:
        parser.add_argument("--real", type=Path, metavar="FOLDER", help="BraTS cases instead of phantoms")
    parser.add_argument("--out", type=Path, help="folder to write to; default: beside the script")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="keys that go to every run")
    options = parser.parse_args()
    experiment = f"{folder.name}_real" if options.real else folder.name
    # In the folder's own file, whatever server the environment names: there the tables are read from.
    given = [*options.overrides, "tracking.uri=null", f"tracking.experiment={experiment}"]
    if options.real:
        given += ["dataset=brats", f"dataset.root={options.real}"]
    out = options.out or (folder / "real" if options.real else folder)
    return Command(experiment, out, tuple(given), options.real is not None)
