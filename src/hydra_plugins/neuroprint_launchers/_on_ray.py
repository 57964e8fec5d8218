"""Jobs on Ray's core. Apart from the launcher: Hydra executes that module under no name, and Ray has to find these."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from neuroprint.errors import NeuroprintError

# What jobs read of the environment; a cluster's nodes were started with one of their own.
_OURS = ("NEUROPRINT_", "MLFLOW_", "HYDRA_", "OMP_", "MKL_")


def connect(init: Mapping[str, Any]) -> Any:
    """Ray, connected to a cluster, or started on this machine.

    Raises:
        NeuroprintError: It is not installed, or cannot be reached.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise NeuroprintError("hydra/launcher=ray: Ray is not installed: pip install 'neuroprint[ray]'") from error
    if not ray.is_initialized():
        passed = {name: value for name, value in os.environ.items() if name.startswith(_OURS)}
        passed |= {"TQDM_DISABLE": "1"}  # jobs' output is passed on line by line: each step of a bar would be one
        given = {"logging_level": logging.WARNING, **{key: value for key, value in init.items() if value is not None}}
        try:
            ray.init(runtime_env={"env_vars": passed}, **given)
        except (ConnectionError, ValueError) as error:
            said = " ".join(str(error).split())
            raise NeuroprintError(f"hydra.launcher.ray.init={dict(init)}: Ray cannot be reached: {said}") from error
    return ray


def run_one(
    context: HydraContext, task: TaskFunction, config: DictConfig, state: Mapping[Any, Any], folder: Path
) -> JobReturn:
    """One job, in a process of Ray's, in the folder of the command."""
    os.chdir(folder)
    setup_globals()
    Singleton.set_state(state)
    return run_job(
        task_function=task,
        config=config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
        hydra_context=context,
    )
