"""A session remembers what the jobs of a process share, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from neuroprint.errors import NeuroprintError
from neuroprint.experiment import session as module
from neuroprint.experiment.session import Session, current_session

OTHERS = "_target_: neuroprint.embedding.poolings.quantile\n_partial_: true\nq: [0.25, 0.75]\n"


@pytest.fixture
def folder(tmp_path):
    """A folder with one more pooling."""
    (tmp_path / "choices" / "pooling").mkdir(parents=True)
    (tmp_path / "choices" / "pooling" / "quartiles.yaml").write_text(OTHERS, encoding="utf-8")
    return tmp_path / "choices"


def brats(root: Path, *more: str) -> tuple[str, ...]:
    return ("encoder=voxels", "dataset=brats", f"dataset.root={root}", *more)


# What is built once


def test_a_choice_is_built_once(make_experiment):
    session = Session()
    first, second = (make_experiment(*choices, session=session) for choices in (["layer=1"], ["layer=2", "seed=3"]))
    assert first.recipe.encoder is second.recipe.encoder and first.recipe.pooling is second.recipe.pooling
    assert first.task is second.task and first.projection is second.projection and first.probe is second.probe
    other = make_experiment("encoder.spacing_mm=4", session=session)
    assert other.recipe.encoder is not first.recipe.encoder and other.task is first.task
    assert make_experiment("layer=1", session=Session()).recipe.encoder is not first.recipe.encoder


def test_a_cohort_is_found_once_whatever_else_is_chosen(small_cohort, make_experiment, monkeypatch):
    found, load = [], module.load_cohort
    monkeypatch.setattr(module, "load_cohort", lambda *given, **named: found.append(given) or load(*given, **named))
    session = Session()
    jobs = [brats(small_cohort), brats(small_cohort, "pooling=max", "task=side", "seed=1")]
    first, second = (session.cohort(make_experiment(*job, session=session)) for job in jobs)
    assert first is second and len(found) == 1
    strict = session.cohort(make_experiment(*jobs[0], "dataset.strict=true", session=session))
    assert strict is not first and strict.strict and len(found) == 2


def test_a_cohort_is_checked_once_for_each_question(small_cohort, make_experiment, monkeypatch):
    asked, check = [], module.check_question

    def checked(task, *rest):
        asked.append(task.name)
        check(task, *rest)

    monkeypatch.setattr(module, "check_question", checked)
    session = Session()
    for more in ((), ("pooling=max",), ("task=side",), ("task=side", "layer=voxels"), ("folds=3",)):
        session.cohort(make_experiment(*brats(small_cohort, *more), session=session))
    assert asked == ["tumor_position", "side", "tumor_position"]


def test_a_question_that_cannot_be_asked_is_refused_every_time(small_cohort, make_experiment):
    session = Session()
    session.cohort(make_experiment(*brats(small_cohort), session=session))
    wrong = make_experiment(*brats(small_cohort, "task=metadata", "task.column=grade"), session=session)
    for _ in range(2):
        with pytest.raises(NeuroprintError, match=r"task\.column=grade: the cohort has the columns none"):
            session.cohort(wrong)
    with pytest.raises(NeuroprintError, match="folds=11"):
        session.cohort(make_experiment(*brats(small_cohort, "folds=11"), session=session))


def test_a_feature_store_is_opened_once(tmp_path):
    session = Session()
    config = OmegaConf.create({"root": str(tmp_path / "a"), "keep_maps": 8})
    first = session.features(config)
    assert session.features(OmegaConf.create({"root": str(tmp_path / "a"), "keep_maps": 8.0})) is first
    assert (first.root, first.keep_maps_mb) == (tmp_path / "a", 8.0)
    for change in ({"root": str(tmp_path / "b")}, {"keep_maps": 0}):
        assert session.features(OmegaConf.merge(config, change)) is not first
    assert Session().features(config) is not first


def test_a_tracking_store_is_opened_once_unless_its_experiment_is_deleted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    session = Session()

    def config(**tracking):
        whole = {"uri": None, "root": "mlruns", "experiment": "neuroprint", **tracking}
        return OmegaConf.create({"tracking": whole, "store": {"root": str(tmp_path / "store")}})

    first = session.tracking(config())
    assert session.tracking(config(root=str(tmp_path / "mlruns"))) is first
    assert session.tracking(config(uri="sqlite:///mlruns/mlflow.db")) is first
    assert session.tracking(config(experiment="other")) is not first
    first.create("a run", {"role": "candidate"})
    assert session.tracking(config()) is first
    assert first.holds
    first.client.delete_experiment(first.experiment_id)
    assert not first.holds
    again = session.tracking(config())
    with pytest.raises(NeuroprintError, match="'neuroprint' was deleted: restore it in the UI"):
        again.create("another run", {"role": "candidate"})


def test_locks_of_a_server_lie_beside_the_features_that_its_users_share(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tracking = {"uri": "http://lab:5000", "root": "mlruns", "experiment": "neuroprint"}
    config = OmegaConf.create({"tracking": tracking, "store": {"root": str(tmp_path / "store")}})
    store = Session().tracking(config)
    assert store.server == "http://lab:5000"
    assert Path(store.lock("x").lock_file).parent == tmp_path / "store" / "locks"


# Folders with further choices


def test_further_folders_add_choices(folder):
    session = Session([folder])
    name = "quantile(q=[0.25, 0.75])"
    assert "quartiles" in session.catalog.names("pooling")
    assert name in session.poolings() and name not in Session().poolings()
    assert session.poolings() is session.poolings()


def test_folders_that_a_job_names_take_the_place_of_those_before(folder):
    session = Session()
    before, poolings = session.catalog, session.poolings()
    session.use_folders([])
    assert session.catalog is before and session.poolings() is poolings
    session.use_folders([str(folder)])
    assert session.catalog is not before and len(session.poolings()) == len(poolings) + 1
    kept = session.catalog
    session.use_folders([folder])
    assert session.catalog is kept
    session.use_folders([])
    assert "quartiles" not in session.catalog.names("pooling")


def test_an_entry_of_a_name_that_neuroprint_has_does_not_replace_it(folder):
    (folder / "pooling" / "mean.yaml").write_text(OTHERS, encoding="utf-8")
    assert Session([folder]).catalog.part("pooling", "mean").node["_target_"].endswith("poolings.mean")


def test_an_experiment_computes_the_poolings_of_the_sessions_folders(folder, make_experiment):
    session = Session([folder])
    built = make_experiment("pooling=quartiles", session=session, folders=[folder])
    assert built.parameters["pooling"] == "quartiles" and built.name == "stage4 · quartiles"
    assert "quantile(q=[0.25, 0.75])" in make_experiment("pooling=mean", session=session).recipe.poolings


def test_a_folder_that_does_not_exist_is_refused():
    with pytest.raises(NeuroprintError, match="there is no folder nowhere"):
        Session(["nowhere"])
    with pytest.raises(NeuroprintError, match="there is no folder nowhere"):
        Session().use_folders(["nowhere"])


# The session of a process


def test_those_whom_hydra_calls_get_one_session_and_sessions_share_nothing(monkeypatch):
    monkeypatch.setattr(module, "_SESSION", type(module._SESSION)("test", default=None))
    assert current_session() is current_session()
    assert Session() is not current_session()
    first, second = Session(), Session()
    first.logged.add("identity")
    first.referenced.add(("group",))
    assert not second.logged and not second.referenced and second.sweep is None
    assert first.exams is not second.exams


def test_a_warning_is_said_once_a_process(caplog):
    session = Session()
    for _ in range(2):
        session.warn("perplexity=50 is too much")
    assert caplog.messages == ["perplexity=50 is too much"]
    Session().warn("perplexity=50 is too much")
    assert len(caplog.messages) == 2
