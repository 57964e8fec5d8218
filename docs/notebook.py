"""Execute docs/notebooks/first_look.ipynb in a fresh kernel and write its outputs into it.

    python docs/notebook.py

The kernel works in an empty folder, so that the notebook computes everything anew and leaves nothing behind.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

from neuroprint.cli.environment import ENVIRONMENT

NOTEBOOK = Path(__file__).parent / "notebooks" / "first_look.ipynb"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
_TIMEOUT_S = 900


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        nbformat.write(executed(nbformat.read(NOTEBOOK, as_version=4), Path(folder)), NOTEBOOK)


def executed(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """The notebook with its outputs, free of what differs from one execution to the next.

    Args:
        notebook: Stays as it is.
        folder: Where its kernel works; empty.

    Raises:
        CellExecutionError: A cell fails.
    """
    done: NotebookNode = nbformat.from_dict(notebook)
    client = NotebookClient(
        done, timeout=_TIMEOUT_S, record_timing=False, resources={"metadata": {"path": str(folder)}}
    )
    own = {
        **ENVIRONMENT,  # the same digits on any number of cores
        "IPYTHONDIR": str(folder / ".ipython"),  # the reader's startup files have no part in it
        "TQDM_DISABLE": "1",
    }
    environment = {name: value for name, value in os.environ.items() if name != "NEUROPRINT_CACHE"}
    client.execute(env={**environment, **own})
    done.metadata = nbformat.from_dict(METADATA)
    for cell in done.cells:
        cell.metadata = NotebookNode()
        for output in cell.get("outputs", []):
            output.pop("metadata", None) if output.output_type == "stream" else output.update(metadata={})
            if "text/html" in output.get("data", {}):
                output.data.pop("text/plain", None)  # the same once more, without its form
    return done


if __name__ == "__main__":
    main()
