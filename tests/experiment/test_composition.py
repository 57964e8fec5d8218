"""Jobs that share what was composed are those that Hydra would compose one by one."""

from __future__ import annotations

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf

from neuroprint.catalog.menu import CONF
from neuroprint.experiment.composition import compose_jobs, hand_out, set_environment
from neuroprint.experiment.configuration import register_schema

TASK = ["dataset.cases=12", "encoder=untrained"]
JOBS = [
    ["encoder=untrained", "layer=0", "pooling=mean", "projection=none"],
    ["encoder=untrained", "layer=4", "pooling=mean", "projection=none"],
    ["encoder=untrained", "layer=[1,2]", "pooling=gem", "pooling.p=4", "projection=pca", "components=4"],
    ["encoder=untrained", "layer=1", "pooling=gem", "pooling.p=2", "projection=pca", "components=8"],
    ["encoder=untrained", "+encoder.note='a, b'", "dataset.cases=12", "figures=false", "perplexity=null"],
    ["encoder=untrained", "hydra.job.name=other", "layer=1", "pooling=mean"],
    ["experiment=levels_and_poolings", "layer=1", "encoder=voxels"],
    ["layer=1", "~pooling"],
    ["pooling=gem", "pooling.p=4", "+pooling={p: 5}"],
    ["pooling=gem", "+pooling={p: 5}", "pooling.p=4"],
]


@pytest.fixture
def loader(monkeypatch):
    register_schema()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        found = GlobalHydra.instance().config_loader()
        kind = type(found)
        monkeypatch.setattr(kind, "load_sweep_config", kind.load_sweep_config)  # what is handed out ends with the test
        yield found


def _parts(config):
    return OmegaConf.to_container(config, resolve=False)


def test_each_job_is_what_hydra_composes_of_its_overrides(loader):
    sweep = loader.load_configuration("config", TASK, run_mode=RunMode.MULTIRUN)
    jobs = compose_jobs(loader, sweep, JOBS)
    assert list(jobs) == [tuple(job) for job in JOBS]
    for own, job in zip(jobs.values(), JOBS, strict=True):
        reference = loader.load_sweep_config(sweep, job)
        assert _parts(own) == _parts(reference)
        assert OmegaConf.is_struct(own)
        resolved = [OmegaConf.to_yaml(part.get("projection", {}), resolve=True) for part in (own, reference)]
        assert resolved[0] == resolved[1]


def test_jobs_that_share_files_share_no_node(loader):
    sweep = loader.load_configuration("config", TASK, run_mode=RunMode.MULTIRUN)
    first, second = compose_jobs(loader, sweep, JOBS[:2]).values()
    first.dataset.cases = 3
    assert (first.dataset.cases, second.dataset.cases) == (3, 80)


def test_files_are_read_once_for_jobs_that_differ_in_values(loader, monkeypatch):
    sweep = loader.load_configuration("config", TASK, run_mode=RunMode.MULTIRUN)
    composed = []
    compose = type(loader).load_sweep_config

    def counted(self, *arguments):
        composed.append(arguments)
        return compose(self, *arguments)

    monkeypatch.setattr(type(loader), "load_sweep_config", counted)
    compose_jobs(loader, sweep, [[f"layer={layer}", f"seed={seed}"] for layer in range(5) for seed in range(4)])
    assert len(composed) == 1


@pytest.mark.parametrize("wrong", ["foldz=3", "pooling=maen", "folds=many"])
def test_what_hydra_refuses_is_refused(loader, wrong):
    sweep = loader.load_configuration("config", TASK, run_mode=RunMode.MULTIRUN)
    with pytest.raises(HydraException):
        compose_jobs(loader, sweep, [["layer=1"], ["layer=1", wrong]])


def test_entries_that_lie_elsewhere_are_left_to_hydra(loader, tmp_path):
    (tmp_path / "pooling").mkdir()
    (tmp_path / "pooling" / "mine.yaml").write_text("_target_: somebody.pooling\n_partial_: true\n", encoding="utf-8")
    given = [f"hydra.searchpath=[file://{tmp_path}]"]
    sweep = loader.load_configuration("config", given, run_mode=RunMode.MULTIRUN)
    job = ["pooling=mine", "layer=2"]
    (own,) = compose_jobs(loader, sweep, [job]).values()
    assert own.pooling._target_ == "somebody.pooling"
    assert _parts(own) == _parts(loader.load_sweep_config(sweep, job))


def test_a_job_is_composed_once_and_carries_the_sweeps_environment(loader, monkeypatch):
    master = loader.load_configuration("config", ["seed=5"], run_mode=RunMode.MULTIRUN)
    master.hydra.overrides.hydra.append("hydra.job.name=sweep")
    calls = []
    whole = type(loader).load_configuration
    monkeypatch.setattr(
        type(loader), "load_configuration", lambda *given, **named: calls.append(1) or whole(*given, **named)
    )
    batch = [["seed=5", "layer=1"], ["seed=5", "layer=2"]]
    jobs = compose_jobs(loader, master, batch)
    assert [config.layer for config in jobs.values()] == [1, 2] and len(calls) == 1
    set_environment(jobs, "PLAN", "/some where/plan.json")
    hand_out(loader, jobs)
    again = [loader.load_sweep_config(master, overrides) for overrides in batch]
    assert len(calls) == 1
    assert [(config.layer, config.seed, config.hydra.job.env_set.PLAN) for config in again] == [
        (1, 5, "/some where/plan.json"),
        (2, 5, "/some where/plan.json"),
    ]
    other = loader.load_sweep_config(master, ["layer=3"])
    assert other.layer == 3 and len(calls) == 2


def test_a_new_sweep_forgets_the_last(loader):
    master = loader.load_configuration("config", [], run_mode=RunMode.MULTIRUN)
    first, second = (compose_jobs(loader, master, [[f"layer={layer}"]]) for layer in (1, 2))
    hand_out(loader, first)
    assert loader.load_sweep_config(master, ["layer=1"]) is first["layer=1",]
    hand_out(loader, second)
    assert loader.load_sweep_config(master, ["layer=2"]) is second["layer=2",]
    assert loader.load_sweep_config(master, ["layer=1"]) is not first["layer=1",]
