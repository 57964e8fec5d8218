"""Preprocessing against MONAI, SciPy and plain geometry."""

import numpy as np
import pytest
from scipy.ndimage import center_of_mass

from neuroprint.data.brain_box import brain_box, has_background_of_zero, without_background
from neuroprint.embedding.preprocessing import normalize, pad_to_multiple, prepare, resample
from neuroprint.encoders.base import InputSpec

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def scan(shape=(30, 36, 28), channels=2, seed=0):
    """Random intensities in an ellipsoid, zero outside: a skull-stripped head."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.linspace(-1.2, 1.2, n) for n in shape), indexing="ij"))
    inside = (grid**2).sum(axis=0) < 1
    return [(rng.integers(100, 900, shape) * inside).astype(np.int16) for _ in range(channels)]


def box_of(channels):
    occupied = np.nonzero(np.any(channels, axis=0))
    return np.array([[axis.min(), axis.max() + 1] for axis in occupied])


def z_scored(image):
    return ((image - image.mean()) / image.std()).astype(np.float32)


def to_one(image):
    return (2 * (image - image.min()) / np.ptp(image) - 1).astype(np.float32)


def shifted(image):
    return image.astype(np.int16) - 1024


def z_scored_and_rounded(image):
    """As where each background voxel was computed for itself."""
    noise = np.random.default_rng(0).normal(0, 1e-7, image.shape)
    return (z_scored(image) + noise).astype(np.float32)


HOW = ("nonzero_channelwise", "nonzero_percentile", "brain_channelwise", "box_channelwise")


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("copied", [z_scored, to_one, shifted, z_scored_and_rounded])
@pytest.mark.parametrize("crop", ["brain", "image"])
def test_a_scan_scaled_and_shifted_as_a_whole_is_prepared_as_the_scan_itself(how, copied, crop):
    channels = scan()
    spec = InputSpec(("a", "b"), normalization=how, crop=crop, spacing_mm=2.0)
    expected = prepare(channels, LPS, box_of(channels), spec)
    copies = [copied(channel) for channel in channels]
    found = prepare(copies, LPS, brain_box(np.stack(copies)), spec)
    np.testing.assert_allclose(found.image, expected.image, atol=2e-4)
    np.testing.assert_allclose(found.brain, expected.brain, atol=1e-6)


def test_a_background_of_zero_or_of_noise_is_left_as_it_is():
    (channel,) = scan(channels=1)
    assert without_background(channel) is channel
    air = np.random.default_rng(0).rayleigh(4, channel.shape).astype(np.float32) + channel
    assert without_background(air) is air
    assert [has_background_of_zero(image) for image in (channel, air, channel - 5)] == [True, True, False]


@pytest.mark.parametrize("how", ["nonzero_channelwise", "nonzero_joint"])
def test_normalization_equals_monai(how):
    from monai.transforms import NormalizeIntensity

    channels = scan()
    channels[1][channels[1] > 700] = 0  # holes in one channel only
    expected = NormalizeIntensity(nonzero=True, channel_wise=how == "nonzero_channelwise")(
        np.stack(channels).astype(np.float32)
    )
    image, brain = normalize(channels, how)
    np.testing.assert_allclose(image, np.asarray(expected), atol=2e-4)
    np.testing.assert_array_equal(brain[0], np.any(channels, axis=0))


def test_normalization_of_a_constant_foreground_is_zero():
    image, _ = normalize([np.full((3, 3, 3), 7, np.int16)], "nonzero_channelwise")
    assert np.all(image == 0)


def test_scaling_to_percentiles_equals_monai_over_the_foreground():
    from monai.transforms import ScaleIntensityRangePercentiles

    channels = [channel.astype(np.float32) - 500 * (channel > 0) for channel in scan()]  # both signs
    image, _ = normalize(channels, "nonzero_percentile")
    for found, channel in zip(image, channels, strict=True):
        inside = channel != 0
        expected = ScaleIntensityRangePercentiles(0.5, 99.5, 0, 1, clip=True)(channel[inside])
        np.testing.assert_allclose(found[inside], np.asarray(expected), atol=1e-5)
        assert not found[~inside].any()


def test_scaling_of_positive_intensities_begins_at_zero():
    channel = np.zeros((4, 4, 4), np.int16)
    channel[1:] = 100
    channel[2] = 200
    image, _ = normalize([channel], "nonzero_percentile")
    np.testing.assert_allclose(image[0, :, 0, 0], [0, 0.5, 1, 0.5], atol=1e-6)
    empty, _ = normalize([np.zeros((3, 3, 3), np.int16)], "nonzero_percentile")
    assert not empty.any()


def test_the_z_scores_of_nnunet_are_over_the_filled_brain_or_the_whole_box():
    channels = scan((21, 25, 23))
    middle = (slice(9, 12), slice(11, 14), slice(10, 13))
    for channel in channels:
        channel[middle] = 0  # a hole in all channels: nnU-Net fills it
    channels[1][5, 12, 11] = 0  # and a zero in one
    outside = np.ones(channels[0].shape, bool)
    outside[np.any(channels, axis=0)] = outside[middle] = False
    within, whole = (normalize(channels, how)[0] for how in ("brain_channelwise", "box_channelwise"))
    for place, channel in enumerate(channels):
        values = channel[~outside].astype(float)
        np.testing.assert_allclose(within[place][~outside], (values - values.mean()) / values.std(), atol=1e-4)
        assert not within[place][outside].any()
        np.testing.assert_allclose(whole[place], (channel - channel.mean()) / channel.std(), atol=1e-4)
    constant, _ = normalize([np.full((3, 3, 3), 7, np.int16)], "box_channelwise")
    assert not constant.any()


def test_resampling_keeps_constants_and_ramps():
    ramp = np.broadcast_to(np.linspace(0, 1, 60, dtype=np.float32)[None, :, None, None], (1, 60, 9, 9))
    smaller = resample(ramp, (1.0, 1.0, 1.0), 3.0)
    assert smaller.shape == (1, 20, 3, 3)
    steps = np.diff(smaller[0, 2:-2, 1, 1])
    np.testing.assert_allclose(steps, 3 / 59, rtol=1e-4)
    np.testing.assert_allclose(resample(np.ones((1, 31, 33, 35), np.float32), (1, 1, 1), 2.7), 1, rtol=1e-5)


def test_resampling_does_not_alias():
    stripes = np.zeros((1, 61, 6, 6), np.float32)
    stripes[:, ::2] = 1
    smaller = resample(stripes, (1.0, 1.0, 1.0), 3.0)
    assert np.all(np.abs(smaller[0, 1:-1, 1, 1] - 0.5) < 0.12)


@pytest.mark.parametrize("target", [1.0, 1.7, 3.0])
def test_resampling_keeps_the_center_in_mm(target):
    blob = np.zeros((1, 41, 45, 39), np.float32)
    blob[0, 12:19, 20:31, 8:15] = 1
    before = (np.array(center_of_mass(blob[0])) - (np.array(blob.shape[1:]) - 1) / 2) * 1.0
    after = resample(blob, (1.0, 1.0, 1.0), target)
    moved = (np.array(center_of_mass(after[0])) - (np.array(after.shape[1:]) - 1) / 2) * target
    np.testing.assert_allclose(moved, before, atol=0.1)


def test_resampling_is_the_same_for_any_memory_layout():
    image = np.random.default_rng(0).normal(size=(2, 20, 23, 26)).astype(np.float32)
    as_on_disk = np.asfortranarray(image)
    np.testing.assert_allclose(resample(image, (1, 2, 1.5), 2.5), resample(as_on_disk, (1, 2, 1.5), 2.5), atol=1e-5)


def test_padding_is_central_and_to_a_multiple():
    padded = pad_to_multiple(np.ones((1, 30, 32, 47), np.float32), 16)
    assert padded.shape == (1, 32, 32, 48)
    assert padded[0, 0].sum() == padded[0, -1].sum() == 0
    assert padded.sum() == 30 * 32 * 47


def test_a_prepared_scan_is_the_brain_box_at_the_networks_spacing():
    channels = scan((60, 70, 62))
    spec = InputSpec(("flair", "t1"), spacing_mm=3.0, divisor=8)
    prepared = prepare(channels, LPS, box_of(channels), spec)
    assert prepared.image.dtype == np.float32
    assert prepared.image.shape == (2, 24, 24, 24)
    assert prepared.brain.shape == (24, 24, 24)
    assert prepared.brain.min() >= 0 and prepared.brain.max() <= 1 + 1e-6
    volume_mm3 = prepared.brain.sum() * 27
    assert volume_mm3 == pytest.approx(np.any(channels, axis=0).sum(), rel=0.05)


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, -1)])
def test_a_prepared_scan_does_not_depend_on_how_its_axes_are_stored(axes, flips):
    channels = scan((24, 30, 27))
    spec = InputSpec(("flair", "t1"), spacing_mm=2.0, divisor=4)
    expected = prepare(channels, LPS, box_of(channels), spec)
    turned = [channel.transpose(axes)[:: flips[0], :: flips[1], :: flips[2]] for channel in channels]
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for new, (old, flip) in enumerate(zip(axes, flips, strict=True)):
        affine[old, new] = flip * LPS[old, old]
    found = prepare(turned, affine, box_of(turned), spec)
    np.testing.assert_allclose(found.image, expected.image, atol=1e-5)
    np.testing.assert_allclose(found.brain, expected.brain, atol=1e-5)


def test_the_whole_field_of_view_keeps_the_heads_place():
    channels = scan((24, 24, 24))
    shifted = [np.roll(channel, 3, axis=0) for channel in channels]
    spec = InputSpec((), crop="image")
    one, other = (prepare(case, LPS, box_of(case), spec).image for case in (channels, shifted))
    assert one.shape == (2, 24, 24, 24)
    np.testing.assert_allclose(np.roll(one, 3, axis=1), other, atol=1e-6)
