"""``neuroprint prepare``, and ``query --prepare``."""

import json

import pytest

import neuroprint as npr
from neuroprint.cli.commands import main


def command(*arguments):
    """Its exit code."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code


def test_a_raw_scan_is_prepared_by_the_command_or_on_the_way_to_a_bundle(
    prepared_head, turned_head, twelve, tmp_path, monkeypatch, capsys
):
    bundle = npr.Bundle.build(npr.embed(twelve, "voxels", store=tmp_path / "store"), path=tmp_path / "bundle")
    assert bundle.template.patients == 12
    laid_on = []
    monkeypatch.setattr(
        "neuroprint.prepare.batch.prepare_case", lambda one, template, affine: laid_on.append(template) or prepared_head
    )
    raw, out = turned_head[0], tmp_path / "out"
    assert command("prepare", raw, out, "--like", tmp_path / "bundle") == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{prepared_head.verdict}: head") and "(12 patients)" in said
    assert command("query", tmp_path / "bundle", raw, "--prepare", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer.pop("prepared") == {"verdict": prepared_head.verdict, "reasons": list(prepared_head.reasons)}
    assert [template.digest for template in laid_on] == [bundle.template.digest] * 2
    assert command("query", tmp_path / "bundle", out / "head", "--json") == 0
    assert {**json.loads(capsys.readouterr().out), "prepared": "not"} == {**answer, "prepared": "not"}


def test_a_bundle_without_a_template_says_so(twelve, turned_head, tmp_path, capsys):
    few = twelve.where(lambda case: case.id < twelve.cases[9].id)
    npr.Bundle.build(npr.embed(few, "voxels", store=tmp_path / "store"), path=tmp_path / "bundle")
    assert command("query", tmp_path / "bundle", turned_head[0], "--prepare") == 1
    assert "the bundle holds no template to lay raw scans on" in capsys.readouterr().err
