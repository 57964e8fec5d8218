"""The Hydra application behind ``python run.py`` and ``neuroprint run``: one evaluation, or with ``-m`` a sweep."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from neuroprint.catalog.menu import CONF
from neuroprint.cli.environment import prepare_process
from neuroprint.cli.help import help_text
from neuroprint.errors import NeuroprintError
from neuroprint.experiment.complaints import explain
from neuroprint.experiment.configuration import check_keys, register_schema
from neuroprint.tracking.server import said_by_mlflow

if TYPE_CHECKING:
    from neuroprint.experiment.experiment import Experiment
    from neuroprint.experiment.session import Session
    from neuroprint.experiment.sweep import Plan, Sweep

log = logging.getLogger(__name__)

_FOLDER_FLAGS = ("--config-dir", "-cd")
_HERE = "conf"


def run(arguments: Sequence[str] | None = None) -> None:
    """Run what the command line says; exit 0 if all went well, 1 if jobs failed, 2 if the command cannot work.

    Args:
        arguments: By default those of the process.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    folders = _folders(given)
    if given and given[-1] in ("--help", "-h") and (len(given) == 1 or (len(given) < 4 and _names_folder(given[:1]))):
        with suppress(BrokenPipeError):
            print(help_text(folders), flush=True)
        return
    prepare_process()
    # Hydra then raises its errors instead of printing them with a traceback; they are put in plain lines here.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    register_schema()
    _register_launchers()
    sys.argv = [sys.argv[0], *given, *(() if _names_folder(given) else _flags(folders))]
    application = hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(_job)
    code, interrupted = 0, False
    try:
        check_keys(given)
        if folders:
            _session().use_folders(folders)
        application()
    except (HydraException, OmegaConfBaseException, NeuroprintError) as error:
        sweep = _sweep()
        code = 1 if sweep else 2
        if not (sweep and sweep.failures):  # a sweep lists what failed itself
            _say(explain(error))
    except Exception as error:
        sweep = _sweep()
        if not (sweep and sweep.failures):
            if (said := said_by_mlflow(error)) is None:
                raise
            _say(said)
        code = 1
    except KeyboardInterrupt:
        interrupted, code = True, 130
        _say("stopped; the same command goes on from here")
    finally:
        if not _finish(interrupted):
            code = code or 1
    sys.exit(code)


class SweepCallback(Callback):  # type: ignore[misc] # Hydra carries no types
    """Hydra's hook, in the launching process, before any job of a sweep starts."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check every job, then open the parent run."""
        from neuroprint.experiment.sweep import start_sweep

        session = _session()
        try:
            session.sweep = start_sweep(config, session)
        except (HydraException, OmegaConfBaseException, NeuroprintError) as error:
            # Hydra turns an exception in a callback into a warning and goes on; only leaving the process stops it.
            _say(explain(error))
            sys.exit(2)
        except Exception as error:
            if said := said_by_mlflow(error):
                _say(said)
            else:
                log.exception("the sweep could not be started")
            sys.exit(1)


def _register_launchers() -> None:
    """Find all launchers, and put ours in the place of submitit's. Help, which needs none, does without the time it takes."""
    from hydra_plugins.neuroprint_launchers.slurm import register

    Plugins.instance()
    register()


def _job(config: DictConfig) -> None:
    """One job of Hydra's: score one configuration."""
    from neuroprint.experiment.run import run_experiment

    experiment, plan = _composed(config)
    session = _session()
    try:
        run_experiment(experiment, session, plan.parent)
    except Exception as error:
        if plan.parent:  # the others go on: say at once what happened to this one
            said = str(error) if isinstance(error, NeuroprintError) else said_by_mlflow(error)
            log.error("failed: %s: %s", experiment.name, said or error, exc_info=said is None)
        if session.sweep is not None:
            session.sweep.note_failure(HydraConfig.get().overrides.task, error)
        raise


def _untrained_job(config: DictConfig) -> None:
    """One job more, when a sweep's best is known: score it on random weights."""
    from neuroprint.experiment.run import score_untrained

    experiment, plan = _composed(config)
    score_untrained(experiment, _session(), plan.parent)


def _composed(config: DictConfig) -> tuple[Experiment, Plan]:
    """What a job is to score, and what it knows of its sweep, in whichever process it runs."""
    from neuroprint.experiment.experiment import Experiment
    from neuroprint.experiment.sweep import Plan, named_poolings

    prepare_process()
    session = _session()
    hydra_config = HydraConfig.get()
    overrides = hydra_config.overrides.task
    is_job = hydra_config.mode == RunMode.MULTIRUN
    _say_if_meant_for_sweeps(hydra_config, is_job)
    plan = Plan.read() if is_job else Plan(folders=[str(folder) for folder in session.catalog.folders[1:]])
    experiment = session.sweep.experiments.get(tuple(overrides)) if session.sweep else None
    if experiment is None:  # a single run, or another process than the one that checked the sweep's jobs
        session.use_folders(plan.folders)
        also = named_poolings(session.catalog.part("pooling", node) for node in plan.poolings)
        experiment = Experiment.of(config, hydra_config.runtime.choices, overrides, session, also, plan.varied)
    return experiment, plan


def _finish(interrupted: bool) -> bool:
    """Sum up the sweep that this process started, if it did; whether all went well."""
    sweep = _sweep()
    if sweep is None:
        return True
    from neuroprint.experiment.sweep import finish_sweep

    try:
        return finish_sweep(sweep, _session(), interrupted, _untrained_job)
    except Exception as error:
        said = str(error) if isinstance(error, NeuroprintError) else said_by_mlflow(error)
        if said is None:
            raise
        _say(said)
        return False


def _say_if_meant_for_sweeps(hydra_config: Any, is_job: bool) -> None:
    """An experiment that says what to sweep sweeps with ``-m`` only: Hydra would run its defaults once, silently.

    Raises:
        NeuroprintError: It was asked for without.
    """
    swept = dict(hydra_config.sweeper.get("params") or {})
    if swept and not is_job:
        name = hydra_config.runtime.choices.get("experiment")
        raise NeuroprintError(
            f"experiment={name} is a sweep over {', '.join(swept)}: give -m as well, python run.py -m experiment={name} ..."
        )


def _session() -> Session:
    """The session of this process; loaded late, since a wrong key needs none of it."""
    from neuroprint.experiment.session import current_session

    return current_session()


def _sweep() -> Sweep | None:
    """The sweep that this process started, if it did."""
    return _session().sweep if "neuroprint.experiment.session" in sys.modules else None


def _folders(arguments: Sequence[str]) -> list[str]:
    """Folders with further choices: as given, else ``conf`` in the folder one is in, unless that is neuroprint's own."""
    for place, argument in enumerate(arguments):
        flag, equals, value = argument.partition("=")
        if flag in _FOLDER_FLAGS:
            return [value if equals else "".join(arguments[place + 1 : place + 2])]
    here = Path(_HERE)
    return [str(here.resolve())] if here.is_dir() and here.resolve() != CONF.resolve() else []


def _names_folder(arguments: Sequence[str]) -> bool:
    return any(argument.partition("=")[0] in _FOLDER_FLAGS for argument in arguments)


def _flags(folders: Sequence[str]) -> list[str]:
    return [flag for folder in folders for flag in ("--config-dir", folder)]


def _say(text: str) -> None:
    print(text, file=sys.stderr)
