"""A process that has imported what the commands import, and forks for every command.

Imports are most of the time that a command on a small cohort takes. What is forked is a process of its own, with its own
arguments, folder, environment and output, and can be killed. Requests and answers are lines of JSON.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

IMPORTED = (
    *("mlflow", "mlflow.store.tracking.sqlalchemy_store", "pandas", "pyarrow.parquet", "rich.table", "rich.console"),
    *("matplotlib.figure", "matplotlib.backends.backend_agg", "sklearn.decomposition"),
    *("sklearn.manifold", "scipy.spatial.distance", "scipy.linalg", "nibabel", "torch", "monai.networks.nets"),
    *("neuroprint.cli.application", "neuroprint.experiment.run", "neuroprint.experiment.sweep"),
)


def main() -> None:
    """Answer requests until there are no more."""
    from neuroprint.cli.environment import prepare_process

    prepare_process()  # what PyTorch reads when it is loaded
    for name in IMPORTED:
        importlib.import_module(name)
    gc.freeze()  # so that collecting garbage does not copy what the processes share
    for line in sys.stdin:
        request = json.loads(line)
        if "arguments" in request:
            answer = os.fork()
            if answer == 0:
                run(request)
        else:
            answer = exit_code(request["process"])
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def exit_code(process: int) -> int | None:
    """The exit code of a process that was forked; None while it runs."""
    with contextlib.suppress(ChildProcessError):
        ended, status = os.waitpid(process, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if ended else None
    return None


def run(request: dict[str, Any]) -> NoReturn:
    """Run a file as ``python FILE ARGUMENTS`` would, or a module as ``python -m MODULE ARGUMENTS`` would, and end."""
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    if "OMP_NUM_THREADS" in os.environ:
        sys.modules["torch"].set_num_threads(int(os.environ["OMP_NUM_THREADS"]))  # it read it when it was loaded
    sys.path += filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    for number, name in enumerate((os.devnull, request["out"], request["err"])):
        os.dup2(os.open(name, os.O_RDWR), number)
    code = 1
    try:
        target, *_ = sys.argv = request["arguments"]
        if target.endswith(".py"):
            sys.path[0] = str(Path(target).parent)
            runpy.run_path(target, run_name="__main__")
        else:
            sys.path[0] = request["folder"]
            runpy.run_module(target, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else int(bool(ending.code))
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # to tear down all that was imported takes seconds


if __name__ == "__main__":
    main()
