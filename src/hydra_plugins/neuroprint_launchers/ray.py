"""``hydra/launcher=ray``: jobs on Ray, started on this machine, or on a cluster that runs already.

On Ray's core alone: hydra-ray-launcher asks for a cloudpickle that is older than what joblib, and so scikit-learn, needs.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, configure_log, filter_overrides, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from neuroprint.errors import NeuroprintError

log = logging.getLogger(__name__)


class RayLauncher(Launcher):  # type: ignore[misc] # Hydra carries no types
    """Hands a sweep's jobs to Ray.

    Args:
        ray: ``init``, the arguments of ``ray.init``, and ``remote``, those of ``ray.remote``: what a job takes.
    """

    def __init__(self, ray: DictConfig) -> None:
        self.ray = ray

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra."""
        self.context, self.task, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs and wait for all of them.

        Raises:
            NeuroprintError: Ray is missing, cannot be reached, or lost a job more often than it tries again.
        """
        from hydra_plugins.neuroprint_launchers._on_ray import connect, run_one
        from neuroprint.catalog.instantiate import plain

        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        ray = connect(plain(self.ray.init))
        run = ray.remote(**plain(self.ray.remote))(run_one)
        jobs = {}
        for number, overrides in enumerate(job_overrides, initial_job_idx):
            log.info("\t#%d : %s", number, " ".join(filter_overrides(overrides)))
            config = self.context.config_loader.load_sweep_config(self.config, list(overrides))
            with open_dict(config):
                config.hydra.job.id, config.hydra.job.num = f"{config.hydra.job.name}_{number}", number
            jobs[number] = run.remote(self.context, self.task, config, Singleton.get_state(), Path.cwd())
        ended, lost = [], []
        for number, job in jobs.items():
            try:
                ended.append(ray.get(job))
            except ray.exceptions.RayError as error:
                lost.append(f"#{number} ({type(error).__name__})")
        if lost:
            raise NeuroprintError(
                f"Ray lost jobs: {', '.join(lost)}; what they computed is kept: give the command again"
            )
        return ended


@dataclass
class RaySettings:
    """What Ray is asked, and what a job takes."""

    init: dict[str, Any] = field(default_factory=lambda: {"address": None, "num_cpus": None})
    remote: dict[str, Any] = field(
        default_factory=lambda: {"num_cpus": 1, "num_gpus": 0, "scheduling_strategy": "SPREAD"}
    )


@dataclass
class RayEntry:
    """The entry ``ray`` of the group ``hydra/launcher``."""

    _target_: str = f"{__name__}.RayLauncher"
    ray: RaySettings = field(default_factory=RaySettings)


ConfigStore.instance().store(group="hydra/launcher", name="ray", node=RayEntry, provider="neuroprint")
