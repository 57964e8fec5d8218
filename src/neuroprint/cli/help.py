"""What ``python run.py --help`` prints: the menu of conf/, as it is written there, comments included.

Hydra's own help takes several times as long, and shows no comments.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from neuroprint.catalog.menu import CONF

_TEMPLATE = """\
Scores fingerprints of brain scans: what a probe reads off them, and how precise retrieval by them is.

  python run.py key=value ...               one evaluation
  python run.py -m key=value,value ...      a sweep over every combination

Choices, the default first (python run.py encoder=voxels --help shows what is in one):
{groups}

Values and their defaults:
{values}

Hydra's own flags: --hydra-help. Everything else: neuroprint --help
"""


def help_text(folders: Sequence[str] = ()) -> str:
    """The groups of conf/ with their entries, and the top-level values of conf/config.yaml with their comments.

    Args:
        folders: Further choices, laid out like conf/.
    """
    text = (CONF / "config.yaml").read_text(encoding="utf-8")
    defaults = _defaults(yaml.safe_load(text)["defaults"])
    groups = []
    for folder in sorted(path for path in CONF.iterdir() if path.name in defaults):
        own = [file for more in folders for file in Path(more, folder.name).glob("*.yaml")]
        entries = sorted({file.stem for file in (*folder.glob("*.yaml"), *own)})
        first = defaults.get(folder.name)
        ordered = sorted(entries, key=lambda entry: entry != first)
        groups.append(f"  {folder.name:<11} {' '.join(ordered)}")
    values = text[text.index("\nlayer:") : text.index("\nhydra:")].strip("\n").splitlines()
    return _TEMPLATE.format(groups="\n".join(groups), values="\n".join(f"  {line}".rstrip() for line in values))


def _defaults(entries: list[Any]) -> dict[str, str | None]:
    return {group: entry for item in entries if isinstance(item, dict) for group, entry in item.items()}
