"""Put the tables that commands wrote into an experiment's README, so that no number in it is typed.

    python experiments/insert_tables.py experiments/pretrain_phantom

Between ``<!-- table: FILE -->`` and ``<!-- end -->`` stands the content of FILE, which lies beside the README.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

_BLOCK = re.compile(r"(<!-- table: (?P<file>\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def inserted(readme: Path) -> str:
    """The README's text with every table as its file has it."""

    def fill(match: re.Match[str]) -> str:
        return match[1] + (readme.parent / match["file"]).read_text(encoding="utf-8") + match[3]

    return _BLOCK.sub(fill, readme.read_text(encoding="utf-8"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    readme = parser.parse_args().folder / "README.md"
    readme.write_text(inserted(readme), encoding="utf-8")


if __name__ == "__main__":
    main()
