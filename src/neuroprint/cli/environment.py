"""What neuroprint's commands set in the environment of their process, before PyTorch and MLflow are loaded.

The library sets nothing. In a program of your own, set these before torch is first imported.
"""

from __future__ import annotations

import os

ENVIRONMENT = {
    # Threads of PyTorch and of readers share the cores. Those that wait for each other in a loop, as OpenMP's do unless told
    # otherwise, take the cores from those that work: extraction took four times as long.
    "OMP_WAIT_POLICY": "PASSIVE",
    # Intel's MKL, PyTorch's matrix product, otherwise adds up in another order for another number of threads: an embedding
    # would depend in its last digits on how many processes share the cores. That costs at most a twentieth of the default
    # network's time.
    "MKL_CBWR": "AUTO,STRICT",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Of a server's runs MLflow otherwise prints an address each, and a bar for every file.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


def prepare_process() -> None:
    """Set what is not set already. An empty ``NEUROPRINT_CACHE`` is as good as none."""
    if not os.environ.get("NEUROPRINT_CACHE"):
        os.environ.pop("NEUROPRINT_CACHE", None)
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
