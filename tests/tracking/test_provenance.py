"""Runs say which code made them, and never that they were made by somebody else's."""

from __future__ import annotations

import subprocess

import pytest

from neuroprint import __version__
from neuroprint.tracking.provenance import code_tags

INSTALLED = {"version": __version__, "mlflow.source.name": "neuroprint", "mlflow.source.type": "LOCAL"}


def git(folder, *arguments):
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    done = subprocess.run(["git", "-C", folder, *identity, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def package(tmp_path):
    folder = tmp_path / "repository" / "package"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    git(tmp_path / "repository", "init", "-q")
    return folder


def test_a_package_under_version_control_names_its_commit_and_whether_it_differs(package):
    git(package, "add", ".")
    git(package, "commit", "-qm", "first")
    expected = {**INSTALLED, "mlflow.source.git.commit": git(package, "rev-parse", "HEAD")}
    assert code_tags(package) == {**expected, "mlflow.source.git.dirty": "false"}
    (package / "__init__.py").write_text("x = 1")
    assert code_tags(package) == {**expected, "mlflow.source.git.dirty": "true"}


def test_a_package_that_lies_in_a_foreign_repository_has_no_commit(package):
    assert code_tags(package) == INSTALLED


def test_without_git_there_is_the_version(package, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert code_tags(package) == INSTALLED
