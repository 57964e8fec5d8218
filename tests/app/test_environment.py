"""Commands set what PyTorch and MLflow read from the environment before these are loaded; the library sets nothing."""

from __future__ import annotations

import json

import pytest

from neuroprint.cli.environment import ENVIRONMENT

STATE = (
    "import json, os, sys\n"
    "def say():\n"
    "    print(json.dumps([dict(os.environ), [name for name in ('torch', 'mlflow', 'hydra') if name in sys.modules]]))\n"
)
COMMANDS = {
    "run.py": "from neuroprint.cli.application import run as command",
    "neuroprint": "from neuroprint.cli.commands import main as command",
}


@pytest.fixture
def plain_project(project):
    """A project in whose environment nothing is set yet."""
    for name in ENVIRONMENT:
        project.environment.pop(name, None)
    return project


def said(outcome) -> tuple[dict[str, str], list[str]]:
    assert outcome.returncode in (0, 2), outcome.stderr
    environment, loaded = json.loads(outcome.stdout.splitlines()[-1])
    return {name: environment[name] for name in ENVIRONMENT if name in environment}, loaded


def test_the_library_sets_nothing_and_loads_nothing(plain_project):
    outcome = plain_project.fresh("-c", f"{STATE}import neuroprint\nsay()\n")
    assert said(outcome) == ({}, [])
    outcome = plain_project.fresh("-c", f"{STATE}from neuroprint import embed, evaluate, load_cohort, tasks\nsay()\n")
    assert said(outcome) == ({}, [])


@pytest.mark.parametrize(("name", "arguments"), [("run.py", ["layer=9"]), ("neuroprint", ["leaderboard"])])
def test_a_command_sets_it_before_pytorch_is_loaded(name, arguments, plain_project):
    code = f"{STATE}import atexit\natexit.register(say)\n{COMMANDS[name]}\ncommand({arguments!r})\n"
    found, loaded = said(plain_project.fresh("-c", code))
    assert found == ENVIRONMENT and "torch" not in loaded


def test_what_is_set_already_stays(plain_project):
    plain_project.environment["OMP_WAIT_POLICY"] = "ACTIVE"
    code = f"{STATE}from neuroprint.cli.environment import prepare_process\nprepare_process()\nsay()\n"
    assert said(plain_project.fresh("-c", code))[0] == {**ENVIRONMENT, "OMP_WAIT_POLICY": "ACTIVE"}
