"""The Hydra application behind ``python run.py``: one evaluation, or with ``-m`` a sweep."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from neuroprint.experiment import configuration as settings
from neuroprint.experiment import sweep
from neuroprint.cli.complaints import explain
from neuroprint.errors import NeuroprintError
from neuroprint.cli.help import help_text

log = logging.getLogger(__name__)


def main() -> None:
    """Run what the command line says; exit 0 if all went well, 1 if jobs failed, 2 if the command cannot work."""
    if sys.argv[1:] in (["--help"], ["-h"]):
        print(help_text())  # noqa: T201
        return
    # Hydra then raises its errors instead of printing them with a traceback; they are put in plain lines here.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    settings.register()
    application = hydra.main(version_base="1.3", config_path=str(settings.CONF), config_name="config")(_job)
    code = 0
    interrupted = False
    try:
        application()
    except (HydraException, OmegaConfBaseException, NeuroprintError) as error:
        code = 1 if sweep.current else 2
        if not (sweep.current and sweep.current.failures):  # a sweep lists what failed itself
            _say(explain(error))
    except Exception:
        if not (sweep.current and sweep.current.failures):
            raise
        code = 1
    except KeyboardInterrupt:
        interrupted, code = True, 130
        _say("stopped; the same command goes on from here")
    finally:
        if not sweep.finish(interrupted):
            code = code or 1
    sys.exit(code)


def _job(config: DictConfig) -> None:
    """One job of Hydra's: score one configuration."""
    from neuroprint.experiment.job import Job
    from neuroprint.experiment.run import run_job

    hydra_config = HydraConfig.get()
    overrides = hydra_config.overrides.task
    plan: dict[str, Any] = {"parent": None, "poolings": [], "varied": []}
    job = None
    if hydra_config.mode == RunMode.MULTIRUN:
        plan = sweep.read_plan()
        job = sweep.current.jobs.get(tuple(overrides)) if sweep.current else None
    if job is None:  # a single run, or another process than the one that checked the sweep's jobs
        also = [OmegaConf.create(node) for node in plan["poolings"]]
        job = Job.from_config(config, hydra_config.runtime.choices, overrides, also, plan["varied"])
    try:
        run_job(job, plan["parent"])
    except Exception as error:
        if plan["parent"]:  # the others go on: say at once what happened to this one
            log.error("failed: %s: %s", job.name, error, exc_info=not isinstance(error, NeuroprintError))
        if sweep.current is not None:
            sweep.current.note_failure(overrides, error)
        raise


def _say(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201
