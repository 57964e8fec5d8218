"""Which code made a run: the version of the package and, in a checkout, the git commit."""

from __future__ import annotations

import subprocess
from pathlib import Path

from neuroprint import __version__

_FOLDER = Path(__file__).parents[1]


def code_tags(folder: Path = _FOLDER) -> dict[str, str]:
    """Tags of every run: ``version``, and what MLflow shows as the source: commit, and whether files differ from it.

    A package that was installed has no commit, also where it lies inside somebody else's repository.
    """
    tags = {"version": __version__, "mlflow.source.name": "neuroprint", "mlflow.source.type": "LOCAL"}
    if _git(folder, "ls-files", "--error-unmatch", "__init__.py") is None:
        return tags
    commit, changed = _git(folder, "rev-parse", "HEAD"), _git(folder, "status", "--porcelain", "-uno", "--", ".")
    if commit:
        tags |= {"mlflow.source.git.commit": commit, "mlflow.source.git.dirty": str(bool(changed)).lower()}
    return tags


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says; None where there is no git, or no repository, or git refuses."""
    try:
        done = subprocess.run(  # noqa: S603
            ["git", "-C", str(folder), *arguments],  # noqa: S607
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
