"""``neuroprint train``: one command makes weights, logs the way there, and goes on where it was stopped."""

import pytest

from neuroprint.encoders.checkpoints import load_weights
from neuroprint.encoders.swin_unetr import TrainedSwinUNETREncoder
from neuroprint.errors import NeuroprintError
from neuroprint.tracking.store import TrackingStore
from neuroprint.train import compose, train

TINY = [
    "encoder.feature_size=12",
    "encoder.spacing_mm=6",
    "learn_from.cases=2",
    "learn_from.validation_cases=1",
    "learn_from.size=[32,32,64]",
    "recipe.steps=2",
    "recipe.validate_every=1",
    "recipe.checkpoint_every=1",
    "recipe.workers=0",
]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NEUROPRINT_CACHE", raising=False)
    return tmp_path


def test_training_writes_weights_that_an_encoder_loads_and_logs_its_curve(place):
    weights = train(TINY)
    encoder = TrainedSwinUNETREncoder(
        ["flair", "t1ce", "t1", "t2"], str(place / weights), feature_size=12, spacing_mm=6
    )
    encoder.network("cpu")
    store = TrackingStore(place / "mlruns", "training")
    (run,) = store.search("tags.role = 'training'")
    assert run.info.status == "FINISHED"
    assert run.data.params["feature_size"] == "12"
    steps = [point.step for point in store.client.get_metric_history(run.info.run_id, "validation/dice_whole_tumor")]
    assert steps == [1, 2]


def test_a_finished_training_is_not_repeated(place):
    first = load_weights(train(TINY), None)
    again = load_weights(train([*TINY, "out=again.safetensors"]), None)
    assert len(TrackingStore(place / "mlruns", "training").search("tags.role = 'training'")) == 1
    assert all((first[name] == again[name]).all() for name in first)


def test_a_training_that_was_killed_goes_on_in_its_own_run(place, monkeypatch):
    import neuroprint.training.trainer as trainer

    validate = trainer.validate
    monkeypatch.setattr(trainer, "validate", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        train(TINY)
    monkeypatch.setattr(trainer, "validate", validate)
    train(TINY)
    (run,) = TrackingStore(place / "mlruns", "training").search("tags.role = 'training'")
    assert run.info.status == "FINISHED"


def test_training_on_a_folder_of_scans(place, small_cohort):
    overrides = ["learn_from=scans", f"learn_from.root={small_cohort}", "learn_from.validation_share=0.3"]
    assert train([*[item for item in TINY if "cases" not in item], *overrides]).is_file()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("recipe.stepz=3", "recipe.stepz"),
        ("learn_from=photos", "phantom, scans"),
        ("learn_from.seed=3", "kept for evaluation"),
        ("learn_from=scans", "learn_from.root is missing"),
        ("encoder=voxels", "SwinUNETR"),
        ("recipe.steps=0", "recipe.steps=0"),
    ],
)
def test_a_command_that_cannot_work_says_so_in_one_line(place, override, message):
    with pytest.raises(NeuroprintError, match=message) as caught:
        train([override])
    assert "\n" not in str(caught.value)


def test_the_configuration_composes_as_it_stands():
    assert compose([]).recipe.steps > 0
