"""``hydra/launcher=submitit_slurm``: submitit's launcher, but it waits for every job, and asks what every Slurm can answer.

Submitit asks ``sacct``. Where Slurm keeps no accounts, that fails at every look, and a canceled job is waited for without
end. And once Slurm has ended one job, submitit's launcher waits for no other.
"""

from collections.abc import Sequence
from importlib.util import find_spec

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn

from neuroprint.errors import NeuroprintError

_LOOK_S = 30
_INSTALLED = find_spec("hydra_plugins.hydra_submitit_launcher") is not None

if _INSTALLED:
    from hydra_plugins.hydra_submitit_launcher.config import SlurmQueueConf
    from hydra_plugins.hydra_submitit_launcher.submitit_launcher import SlurmLauncher

    class WaitingSlurmLauncher(SlurmLauncher):  # type: ignore[misc] # submitit is optional
        """Submitit's launcher, with the above."""

        def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
            """Submit the jobs and wait for all of them.

            Raises:
                NeuroprintError: Slurm ended one before it was done.
            """
            from submitit.core.utils import FailedJobError, UncompletedJobError
            from submitit.slurm.slurm import SlurmJob

            from hydra_plugins.neuroprint_launchers._queue import QueueWatcher, timed_out

            watcher = SlurmJob.watcher = QueueWatcher(delay_s=_LOOK_S)
            try:
                jobs: Sequence[JobReturn] = super().launch(job_overrides, initial_job_idx)
                lost = [f"#{number} (time limit)" for number, job in enumerate(jobs, initial_job_idx) if timed_out(job)]
            except (FailedJobError, UncompletedJobError) as error:
                watcher.wait()
                lost = watcher.lost() or [" ".join(str(error).split())[:300]]
            if lost:
                folder = self.params["submitit_folder"].removesuffix("/%j")
                raise NeuroprintError(
                    f"Slurm ended jobs before they were done: {', '.join(lost)}; their output is in {folder}; what they "
                    "computed is kept: give the command again"
                )
            return jobs


def register() -> None:
    """Put this launcher in the place of submitit's, where that is installed: called when Hydra has found all plugins."""
    if _INSTALLED:
        node = SlurmQueueConf(_target_=f"{__name__}.WaitingSlurmLauncher")
        ConfigStore.instance().store(group="hydra/launcher", name="submitit_slurm", node=node, provider="neuroprint")
