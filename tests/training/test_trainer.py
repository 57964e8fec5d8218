import dataclasses

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from neuroprint.encoders.base import InputSpec
from neuroprint.encoders.swin_unetr import SwinUNETREncoder
from neuroprint.errors import CaseError, NeuroprintError
from neuroprint.phantom.seeds import FIRST_TRAINING_SEED
from neuroprint.training.appearance import AppearanceSettings
from neuroprint.training.deform import DeformSettings
from neuroprint.training.sources import PhantomSource
from neuroprint.training.trainer import TrainSettings, region_loss, train_network, validate

MODALITIES = ("flair", "t1ce", "t1", "t2")
QUICK = TrainSettings(steps=4, learning_rate=2e-3, warmup=1, validate_every=4, checkpoint_every=2, workers=0)


@pytest.fixture(scope="module")
def two_phantoms(tmp_path_factory):
    spec = InputSpec(MODALITIES, spacing_mm=5.0, divisor=32)
    still = DeformSettings(chance=0)
    return PhantomSource(spec, FIRST_TRAINING_SEED, 2, 1, (32, 32, 64), tmp_path_factory.mktemp("heads"), place=still)


def network(seed=0):
    """As small as the architecture can be: a step takes a second."""
    encoder = SwinUNETREncoder(MODALITIES, feature_size=12, depths=(1, 1, 1, 1), seed=seed)
    return encoder.network("cpu").requires_grad_(True)


@pytest.mark.slow
def test_a_few_steps_on_two_phantoms_lower_the_loss_on_scans_that_were_not_shown(two_phantoms, tmp_path):
    usual = dataclasses.replace(two_phantoms, appearance=AppearanceSettings(usual=1.0))
    settings = dataclasses.replace(QUICK, steps=12, validate_every=12, learning_rate=4e-3)
    further = [usual.example(number) for number in range(settings.steps, settings.steps + 2)]

    def loss(learner):
        with torch.no_grad():
            return np.mean([float(region_loss(learner(image[None]), truth[None], 2.0)) for image, truth in further])

    learner, still = network(), network()
    before = loss(learner)
    train_network(learner, usual, settings, tmp_path / "learner.pt")
    train_network(still, usual, dataclasses.replace(settings, steps=2, learning_rate=1e-12), tmp_path / "still.pt")
    assert loss(learner) < 0.85 * before
    assert loss(still) == pytest.approx(before, rel=1e-3)


def test_a_training_that_was_broken_off_ends_as_an_undisturbed_one(two_phantoms, tmp_path):
    whole, broken, resumed = network(), network(), network(seed=1)
    train_network(whole, two_phantoms, QUICK, tmp_path / "whole.pt")

    def stop(step, loss):
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_network(broken, two_phantoms, QUICK, tmp_path / "broken.pt", progress=stop)
    steps = []
    train_network(resumed, two_phantoms, QUICK, tmp_path / "broken.pt", progress=lambda step, loss: steps.append(step))
    assert steps == [3, 4]
    for name, weight in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], weight, rtol=1e-4, atol=1e-5)


def test_the_loss_is_dice_plus_weighted_cross_entropy():
    rng = torch.Generator().manual_seed(0)
    logits, truth = torch.randn(1, 3, 4, 4, 4, generator=rng), (torch.rand(1, 3, 4, 4, 4, generator=rng) > 0.5).float()
    shown = logits.sigmoid().numpy()[0]
    dice = []
    for p, g in zip(shown, truth.numpy()[0], strict=True):
        dice.append((2 * (p * g).sum() + 1) / ((p**2).sum() + g.sum() + 1))
    expected = 1 - np.mean(dice) + 2 * float(binary_cross_entropy_with_logits(logits, truth))
    assert float(region_loss(logits, truth, 2.0)) == pytest.approx(expected, rel=1e-5)


def test_regions_are_learned_apart_a_voxel_can_be_in_all():
    truth = torch.ones(1, 3, 2, 2, 2)
    assert float(region_loss(torch.full_like(truth, 20.0), truth, 1.0)) == pytest.approx(0, abs=1e-6)


def test_a_perfect_network_has_dice_1(two_phantoms):
    class Truth(torch.nn.Module):
        def forward(self, image):
            return scans[0].regions[None] * 2 - 1

    scans = list(two_phantoms.validation())
    assert set(validate(Truth(), scans, "cpu").values()) == {1.0}


def test_the_rate_rises_then_falls_to_nothing():
    settings = TrainSettings(steps=100, warmup=10, learning_rate=1.0)
    rates = [settings.rate(step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0)
    assert np.argmax(rates) == 9
    assert (np.diff(rates[10:]) < 0).all()
    assert rates[100] == pytest.approx(0)


@pytest.mark.parametrize(
    "content",
    [
        b"torn",
        {"network": {}, "optimizer": {}, "done": 1},
        {"network": network().state_dict(), "optimiser": {}, "done": 1},
        [1, 2],
    ],
    ids=["torn", "another network", "another version", "no checkpoint"],
)
def test_a_checkpoint_that_cannot_be_gone_on_from_is_named(two_phantoms, tmp_path, content):
    if isinstance(content, bytes):
        (tmp_path / "a.pt").write_bytes(content)
    else:
        torch.save(content, tmp_path / "a.pt")
    with pytest.raises(NeuroprintError, match=r"a\.pt: the checkpoint cannot be read; delete it to start anew"):
        train_network(network(), two_phantoms, QUICK, tmp_path / "a.pt")


def test_a_loss_that_is_not_a_number_stops_the_training(two_phantoms, tmp_path):
    wild = dataclasses.replace(QUICK, learning_rate=1e30)
    with pytest.raises(NeuroprintError, match="diverged"):
        train_network(network(), two_phantoms, wild, tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("name", "value"),
    [("steps", 0), ("batch", 0), ("validate_every", 0), ("workers", -1), ("learning_rate", 0), ("stop", 0)],
)
def test_a_recipe_that_cannot_work_is_refused(name, value):
    with pytest.raises(NeuroprintError, match=f"recipe.{name}={value}"):
        dataclasses.replace(QUICK, **{name: value})


def test_a_checkpoint_of_an_older_version_is_gone_on_from(two_phantoms, tmp_path):
    settings = dataclasses.replace(QUICK, steps=2, validate_every=1)
    train_network(network(), two_phantoms, dataclasses.replace(settings, stop=1), tmp_path / "a.pt")
    found = torch.load(tmp_path / "a.pt")
    torch.save({name: found[name] for name in ("network", "optimizer", "done")}, tmp_path / "a.pt")
    steps = []
    train_network(network(), two_phantoms, settings, tmp_path / "a.pt", progress=lambda step, loss: steps.append(step))
    assert steps == [2]


def test_seconds_are_counted_across_a_break_and_the_last_validation_is_made_once(two_phantoms, tmp_path, monkeypatch):
    import neuroprint.training.trainer as module

    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    validated, logged = [], []
    monkeypatch.setattr(module, "validate", lambda *_: validated.append(1) or {"validation/dice_whole_tumor": 0.5})
    settings = dataclasses.replace(QUICK, steps=2, validate_every=1, checkpoint_every=5)
    for stop in (1, None):
        train_network(
            network(),
            two_phantoms,
            dataclasses.replace(settings, stop=stop),
            tmp_path / "a.pt",
            log=lambda metrics, step: logged.append((step, metrics["train/seconds"])),
        )
    assert logged[0][0] == 1 and logged[-1][0] == 2
    assert [seconds for _, seconds in logged] == sorted(seconds for _, seconds in logged)
    assert logged[-1][1] > logged[0][1] > 0
    assert len(validated) == len(logged)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_case_that_fails_on_the_way_is_named_in_one_line(two_phantoms, tmp_path, workers):
    class Torn:
        def __getattr__(self, name):
            return getattr(two_phantoms, name)

        def example(self, number):
            raise CaseError("patient-3", "its file is torn")

    with pytest.raises(CaseError) as caught:
        train_network(network(), Torn(), dataclasses.replace(QUICK, workers=workers), tmp_path / "a.pt")
    assert str(caught.value) == "case patient-3: its file is torn"
