"""Examples: pure functions of their number, never mirrored, as wide as the settings say and never wider."""

import dataclasses

import numpy as np
import pytest
import torch

from neuroprint.data.brain_box import brain_box
from neuroprint.embedding.preprocessing import prepare
from neuroprint.encoders.base import InputSpec
from neuroprint.errors import NeuroprintError
from neuroprint.phantom import TISSUES, PhantomSettings, make_phantom, write_cohort
from neuroprint.phantom.seeds import FIRST_TRAINING_SEED
from neuroprint.training.appearance import AppearanceSettings, field, render, standardize
from neuroprint.training.deform import DeformSettings, deform
from neuroprint.training.examples import Example, framed, shuffled
from neuroprint.training.regions import prepare_regions
from neuroprint.training.sources import PhantomSource

MODALITIES = ("flair", "t1ce", "t1", "t2")
SPEC = InputSpec(MODALITIES, spacing_mm=6.0, divisor=32)
STILL = DeformSettings(chance=0)
PLAIN = AppearanceSettings(
    usual=0,
    spread=0,
    subtle=1,
    faint=0,
    gamma=0,
    texture=1,
    bias=0,
    blur=0,
    slices_mm=0,
    noise=0.02,
    lost=0,
    foreign=0,
    swapped=0,
)


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    return PhantomSource(SPEC, FIRST_TRAINING_SEED, 2, 1, (64, 64, 32), tmp_path_factory.mktemp("heads"), 4.0)


@pytest.fixture(scope="module")
def tissues():
    phantom = make_phantom(FIRST_TRAINING_SEED, 0, PhantomSettings(6.0))
    return torch.from_numpy(phantom.tissues)


def test_an_example_is_a_function_of_its_number(heads):
    again = dataclasses.replace(heads)
    for one, other in zip(heads.example(3), again.example(3), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert not torch.equal(heads.example(3).image, heads.example(4).image)


def test_an_epoch_shows_every_head_once(heads):
    for epoch in range(3):
        assert sorted(shuffled(7, 10, 10 * epoch + place) for place in range(10)) == list(range(10))


def test_an_example_has_the_networks_shape_and_regions_inside_each_other(heads):
    image, regions = heads.example(0)
    assert image.shape == (4, 64, 64, 32)
    assert regions.shape == (3, 64, 64, 32)
    whole, core, enhancing = regions
    assert whole.sum() > 0
    assert (core <= whole).all()
    assert (enhancing <= core).all()


def test_validation_scans_are_of_heads_that_are_not_learned_from_and_made_once(heads, monkeypatch):
    import neuroprint.training.sources as module

    asked = []
    monkeypatch.setattr(module, "make_phantom", lambda seed, *rest: asked.append(seed) or make_phantom(seed, *rest))
    first, second = list(heads.validation()), list(heads.validation())
    assert len(first) == 1
    assert asked == [FIRST_TRAINING_SEED + 1]
    torch.testing.assert_close(first[0].image, second[0].image, rtol=0, atol=0)


def test_nothing_moves_where_nothing_may():
    maps = torch.rand(2, 10, 12, 8)
    placed = deform(maps, (14, 14, 14), STILL, np.random.default_rng(0))
    torch.testing.assert_close(placed[:, 2:12, 1:13, 3:11], maps, rtol=1e-4, atol=1e-5)
    assert placed.sum() == pytest.approx(float(maps.sum()), rel=1e-4)


def test_sides_are_never_exchanged():
    maps = torch.zeros(1, 32, 32, 32)
    maps[0, :10] = 1  # all on the patient's one side
    for seed in range(30):
        placed = deform(maps, (32, 32, 32), DeformSettings(), np.random.default_rng(seed))[0]
        assert placed[:16].sum() > 3 * placed[16:].sum()


def test_a_shift_moves_by_at_most_its_limit():
    maps = torch.zeros(1, 33, 33, 33)
    maps[0, 16, 16, 16] = 1
    only = DeformSettings(turn=0, shift=4, scale=0, stretch=0, bend=0, chance=1)
    for seed in range(20):
        placed = deform(maps, (33, 33, 33), only, np.random.default_rng(seed))[0]
        at = torch.tensor(np.argwhere(placed.numpy() == placed.numpy().max())[0])
        assert (at - 16).abs().max() <= 4


def test_a_channel_is_standardized_over_the_brain(tissues):
    image = render(tissues, MODALITIES, 6.0, PLAIN, np.random.default_rng(0))
    brain = tissues.sum(dim=0) > 0.5
    assert image.shape == (4, *tissues.shape[1:])
    for channel in image:
        assert abs(float(channel[brain].mean())) < 0.1
        assert float(channel[brain].std()) == pytest.approx(1, abs=0.1)
        assert (channel[tissues.sum(dim=0) == 0] == 0).all()


def test_without_randomization_fluid_is_bright_in_t2_and_dark_in_t1(tissues):
    image = render(tissues, ("t1", "t2"), 6.0, PLAIN, np.random.default_rng(1))
    fluid = tissues[TISSUES.index("ventricle")] > 0.9
    white = tissues[TISSUES.index("white_matter")] > 0.9
    assert image[0][fluid].mean() < image[0][white].mean()
    assert image[1][fluid].mean() > image[1][white].mean()


def test_scanners_differ_more_where_they_may(tissues):
    def spread_of(settings):
        drawn = [render(tissues, ("flair",), 6.0, settings, np.random.default_rng(seed))[0] for seed in range(8)]
        return float(torch.stack(drawn).std(dim=0).mean())

    assert spread_of(AppearanceSettings(usual=0, lost=0)) > 1.5 * spread_of(PLAIN)


def test_a_lost_modality_is_zero_everywhere(tissues):
    image = render(tissues, MODALITIES, 6.0, AppearanceSettings(lost=1.0), np.random.default_rng(0))
    assert sum(bool((channel == 0).all()) for channel in image) == 1


def test_the_usual_scanner_loses_nothing(tissues):
    for usual, lost in ((1.0, 0), (0.0, 1)):
        settings = AppearanceSettings(usual=usual, lost=1.0)
        image = render(tissues, MODALITIES, 6.0, settings, np.random.default_rng(0))
        assert sum(not channel.any() for channel in image) == lost


def test_a_faint_tumor_is_hardly_seen_in_some_modality(tissues):
    white, edema = (tissues[TISSUES.index(name)] > 0.9 for name in ("white_matter", "edema"))

    def contrasts(faint, seed):
        settings = dataclasses.replace(PLAIN, faint=faint)
        image = render(tissues, MODALITIES, 6.0, settings, np.random.default_rng(seed))
        return np.array([abs(float(channel[edema].mean() - channel[white].mean())) for channel in image])

    for seed in range(8):
        left = contrasts(1.0, seed) / contrasts(0.0, seed)
        assert left.min() < 0.4
        assert np.median(left) > 0.75


def test_a_tumor_that_is_all_alike_is_whole_tumor_and_nothing_else(heads):
    still = dataclasses.replace(heads, place=STILL, alike=0.0)
    for number in range(2):
        usual, alike = still.example(number), dataclasses.replace(still, alike=1.0).example(number)
        assert torch.equal(alike.regions[0], usual.regions[0])
        assert usual.regions[1].any() and not alike.regions[1:].any()


def test_a_share_of_the_examples_is_a_phantom_as_it_was_made(heads):
    def scan(index):
        phantom = make_phantom(heads.seed, index, PhantomSettings(4.0))
        images = [phantom.images[name] for name in MODALITIES]
        return prepare(images, phantom.affine, brain_box(np.stack(images)), SPEC).image

    as_made = dataclasses.replace(heads, as_made=1.0)
    for number in range(4):
        example, made = as_made.example(number), scan(shuffled(heads.seed, heads.cases, number))
        assert example.image.shape == (4, *heads.size)
        assert example.regions.shape == (3, *heads.size)
        cut = framed(Example(torch.from_numpy(made), torch.zeros(3, *made.shape[1:])), heads.size).image
        # Kept in float16.
        torch.testing.assert_close(example.image, cut, rtol=1e-3, atol=1e-3)
        assert example.regions[0].any()
    some = dataclasses.replace(heads, as_made=0.5)
    same = [torch.equal(some.example(number).image, as_made.example(number).image) for number in range(12)]
    assert 0 < sum(same) < len(same)


def test_an_example_is_framed_about_its_middle():
    image = torch.arange(6.0).reshape(1, 6, 1, 1)
    example = framed(Example(image, image > 2), (2, 3, 1))
    assert example.image[0, :, 1, 0].tolist() == [2, 3]
    assert example.regions[0, :, 1, 0].tolist() == [False, True]
    assert example.image[0, :, [0, 2]].abs().sum() == 0


def test_heads_made_on_a_finer_grid_are_brought_to_the_networks_as_scans_are(heads):
    still = dataclasses.replace(heads, place=STILL, alike=0.0)
    for number in range(2):
        head = make_phantom(heads.seed, shuffled(heads.seed, 2, number), PhantomSettings(heads.head_mm))
        box = brain_box(np.stack(list(head.images.values())))
        truth = prepare_regions(head.label, "brats", head.affine, box, SPEC)
        assert float(still.example(number).regions[0].sum()) == pytest.approx(truth[0].sum(), rel=0.1)


def test_smooth_noise_has_unit_variance_whatever_its_scale():
    for blob in (1.0, 3.0, 40.0):
        drawn = field((20, 24, 16), blob, np.random.default_rng(0))
        assert float(drawn.std()) == pytest.approx(1, abs=1e-3)


def test_a_constant_channel_becomes_zero():
    assert (standardize(torch.full((4, 4, 4), 7.0), torch.ones(4, 4, 4)) == 0).all()


def test_training_refuses_the_seeds_of_evaluation_and_evaluation_those_of_training(tmp_path):
    with pytest.raises(NeuroprintError, match="kept for evaluation"):
        PhantomSource(SPEC, FIRST_TRAINING_SEED - 1, 2, 1, (64, 64, 32), tmp_path)
    with pytest.raises(NeuroprintError, match="kept for training"):
        write_cohort(tmp_path / "cohort", cases=1, spacing_mm=8.0, seed=FIRST_TRAINING_SEED, workers=1)
    assert not (tmp_path / "cohort").exists()


@pytest.mark.parametrize("size", [(64, 64), (32, 32, 32), (64, 64, 48)])
def test_a_field_of_view_that_the_network_cannot_take_is_refused(size, tmp_path):
    with pytest.raises(NeuroprintError, match="multiples of 32"):
        PhantomSource(SPEC, FIRST_TRAINING_SEED, 2, 1, size, tmp_path)


@pytest.mark.parametrize(("cases", "validation_cases"), [(0, 1), (1, 0)])
def test_no_heads_are_refused(cases, validation_cases, tmp_path):
    with pytest.raises(NeuroprintError, match=r"learn_from\.(validation_)?cases=0"):
        PhantomSource(SPEC, FIRST_TRAINING_SEED, cases, validation_cases, (64, 64, 32), tmp_path)


@pytest.mark.parametrize(("key", "value"), [("head_mm", 0.0), ("head_mm", -2.0), ("alike", -0.1), ("as_made", 1.5)])
def test_what_cannot_be_made_is_refused(heads, key, value):
    with pytest.raises(NeuroprintError, match=f"learn_from.{key}={value}: must be"):
        dataclasses.replace(heads, **{key: value})
