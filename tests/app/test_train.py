"""``neuroprint train``: one command makes weights, logs the way there, and goes on where it was stopped."""

import shutil

import pytest

from neuroprint.data.digests import file_sha256
from neuroprint.encoders.checkpoints import load_weights
from neuroprint.encoders.combined import CombinedEncoder
from neuroprint.encoders.swin_unetr import TrainedSwinUNETREncoder
from neuroprint.encoders.trained_on import seen_images
from neuroprint.encoders.voxels import VoxelEncoder
from neuroprint.errors import NeuroprintError
from neuroprint.tracking.store import TrackingStore
from neuroprint.training.train import compose, train

TINY = [
    "encoder.feature_size=12",
    "encoder.spacing_mm=5",
    "learn_from.cases=2",
    "learn_from.validation_cases=1",
    "learn_from.size=[32,32,64]",
    "recipe.steps=2",
    "recipe.validate_every=1",
    "recipe.checkpoint_every=1",
    "recipe.workers=0",
]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A training of seconds; the heads to learn from are made once."""
    return [*TINY, f"learn_from.cache={tmp_path_factory.mktemp('heads')}"]


@pytest.fixture
def place(tmp_path, monkeypatch, empty_database):
    (tmp_path / "mlruns").mkdir()
    shutil.copyfile(empty_database, tmp_path / "mlruns" / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NEUROPRINT_CACHE", raising=False)
    return tmp_path


def test_training_writes_weights_that_an_encoder_loads_and_logs_its_curve(place, tiny):
    weights = train(tiny)
    encoder = TrainedSwinUNETREncoder(
        ["flair", "t1ce", "t1", "t2"], str(place / weights), feature_size=12, spacing_mm=5
    )
    encoder.network("cpu")
    store = TrackingStore(place / "mlruns", "training")
    (run,) = store.search("tags.role = 'training'")
    assert run.info.status == "FINISHED"
    assert run.data.params["feature_size"] == "12"
    steps = [point.step for point in store.client.get_metric_history(run.info.run_id, "validation/dice_whole_tumor")]
    assert steps == [1, 2]


def test_a_finished_training_is_not_repeated(place, tiny):
    first = load_weights(train(tiny), None)
    again = load_weights(train([*tiny, "out=again.safetensors"]), None)
    assert len(TrackingStore(place / "mlruns", "training").search("tags.role = 'training'")) == 1
    assert all((first[name] == again[name]).all() for name in first)


def test_a_training_that_was_killed_goes_on_in_its_own_run_and_logs_no_step_twice(place, tiny, monkeypatch):
    import neuroprint.training.trainer as trainer

    validate, begun = trainer.validate, []
    examples = trainer._examples
    monkeypatch.setattr(trainer, "_examples", lambda *given: begun.append(given[-1]) or examples(*given))
    steps = [*tiny, "recipe.steps=3"]

    def killed_in_the_second(*given):
        validations.append(1)
        if len(validations) == 2:
            raise KeyboardInterrupt
        return validate(*given)

    validations = []
    monkeypatch.setattr(trainer, "validate", killed_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        train(steps)
    store = TrackingStore(place / "mlruns", "training")
    assert [run.info.status for run in store.search("tags.role = 'training'")] == ["KILLED"]
    train(steps)
    assert begun == [0, 2]
    (run,) = store.search("tags.role = 'training'")
    assert run.info.status == "FINISHED"
    logged = store.client.get_metric_history(run.info.run_id, "train/loss")
    assert sorted(point.step for point in logged) == [1, 2, 3]


def test_a_training_that_is_stopped_is_never_called_finished(place, tiny, monkeypatch):
    ended = []
    end = TrackingStore.end
    monkeypatch.setattr(
        TrackingStore, "end", lambda self, run, status="FINISHED": ended.append(status) or end(self, run, status)
    )
    train([*tiny, "recipe.stop=1"])
    assert ended == ["KILLED"]
    train(tiny)
    assert ended == ["KILLED", "FINISHED"]


def test_a_finished_training_whose_weights_are_gone_writes_them_again(place, tiny):
    first = load_weights(train(tiny), None)
    store = TrackingStore(place / "mlruns", "training")
    (run,) = store.search("tags.role = 'training'")
    store.artifact(run, "weights.safetensors").unlink()
    again = load_weights(train([*tiny, "out=again.safetensors"]), None)
    assert all((first[name] == again[name]).all() for name in first)
    (run,) = store.search("tags.role = 'training'")
    assert run.info.status == "FINISHED" and store.artifact(run, "weights.safetensors").is_file()
    points = store.client.get_metric_history(run.info.run_id, "train/loss")
    assert sorted(point.step for point in points) == [1, 2]


def test_training_on_a_folder_of_scans_can_be_traced_and_names_no_folder(place, tiny, small_cohort):
    overrides = ["learn_from=scans", f"learn_from.root={small_cohort}", "learn_from.validation_share=0.3"]
    weights = train([*[item for item in tiny if "cases" not in item], *overrides])
    store = TrackingStore(place / "mlruns", "training")
    (run,) = store.search("tags.role = 'training'")
    assert run.data.params["root"] == small_cohort.name
    assert run.data.params["validation_share"] == "0.3"
    config = store.artifact(run, "config.yaml").read_text(encoding="utf-8")
    assert "validation_share: 0.3" in config
    assert str(small_cohort) not in config
    encoder = TrainedSwinUNETREncoder(["flair"], str(weights.absolute()), feature_size=12)
    files = {file_sha256(file)[:16] for file in small_cohort.glob("*/*_t1.nii.gz")}
    seen = seen_images(encoder)
    assert 0 < len(seen & files) < len(files)
    tuned = CombinedEncoder({"a": encoder, "b": VoxelEncoder()})
    assert seen_images(tuned) == seen and not seen_images(encoder.untrained())


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("recipe.stepz=3", "recipe.stepz"),
        ("learn_from=photos", "phantom, scans"),
        ("learn_from.seed=3", "kept for evaluation"),
        ("learn_from=scans", "learn_from.root is missing"),
        ("encoder=voxels", "SwinUNETR"),
        ("recipe.steps=0", "recipe.steps=0"),
        ("recipe.workers=-1", "recipe.workers=-1"),
        ("learn_from.cases=0", "learn_from.cases=0"),
    ],
)
def test_a_command_that_cannot_work_says_so_in_one_line(place, override, message):
    with pytest.raises(NeuroprintError, match=message) as caught:
        train([override])
    assert "\n" not in str(caught.value)


def test_the_configuration_composes_as_it_stands():
    assert compose([]).recipe.steps > 0
