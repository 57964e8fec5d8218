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

if find_spec("hydra_plugins.hydra_submitit_launcher") is not None:
    # Imported first, its entry is registered first, and ours of the same name takes its place.
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

            from hydra_plugins.neuroprint_launchers._queue import QueueWatcher

            watcher = SlurmJob.watcher = QueueWatcher(delay_s=_LOOK_S)
            try:
                ended: Sequence[JobReturn] = super().launch(job_overrides, initial_job_idx)
                return ended
            except (FailedJobError, UncompletedJobError) as error:
                watcher.wait()
                raise NeuroprintError(
                    f"Slurm ended jobs before they were done: {', '.join(watcher.lost()) or 'see their output'}; their "
                    f"output is in {self.params['submitit_folder'].removesuffix('/%j')}; what they computed is kept: give "
                    "the command again"
                ) from error

    ConfigStore.instance().store(
        group="hydra/launcher",
        name="submitit_slurm",
        node=SlurmQueueConf(_target_=f"{__name__}.WaitingSlurmLauncher"),
        provider="neuroprint",
    )
