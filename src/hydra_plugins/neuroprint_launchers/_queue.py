"""What Slurm says of submitit's jobs. Apart from the launcher: Hydra imports that one whatever is to be done."""

from __future__ import annotations

import time

from hydra.core.utils import JobReturn
from submitit.core.utils import UncompletedJobError
from submitit.slurm.slurm import SlurmInfoWatcher


class QueueWatcher(SlurmInfoWatcher):  # type: ignore[misc] # submitit is optional
    """Asks ``squeue``. A job that is listed no more has ended."""

    def _make_command(self) -> list[str] | None:
        due = self._registered - self._finished
        return ["squeue", "--me", "--array", "--states=all", "--noheader", "--format=%i|%T|%N"] if due else None

    def read_info(self, string: bytes | str) -> dict[str, dict[str, str]]:
        text = string if isinstance(string, str) else string.decode()
        listed: dict[str, dict[str, str]] = super().read_info(f"JobID|State|NodeList\n{text}")
        return {job: listed.get(job, {"State": "ENDED"}) for job in self._registered - self._finished}

    def wait(self) -> None:
        """Until no job is left in the queue."""
        while not all(self.is_done(job) for job in self._registered):
            time.sleep(1)

    def lost(self) -> list[str]:
        """The jobs that did not come to their end, with what Slurm says of each."""
        states = {job: self.get_state(job, mode="cache") for job in sorted(self._registered)}
        return [f"{job} ({state})" for job, state in states.items() if state not in ("COMPLETED", "ENDED")]


def timed_out(job: JobReturn) -> bool:
    """Whether submitit ended a job because its time was up. What a job of ours raised is the sweep's to raise."""
    try:
        _ = job.return_value
    except UncompletedJobError:
        return True
    except Exception:
        return False
    return False
