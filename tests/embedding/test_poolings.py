"""Each pooling against NumPy, and what all of them promise."""

from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from neuroprint.embedding import poolings
from neuroprint.errors import NeuroprintError

SHAPES = [(3, 4, 5, 6), (1, 1, 1, 1), (7, 2, 1, 3), (40, 3, 5, 2)]
CONF = Path(__file__).parents[2] / "conf" / "pooling"
MENU = sorted(path.stem for path in CONF.glob("*.yaml"))
EXACT = partial(np.testing.assert_allclose, rtol=2e-6, atol=2e-6)


def from_menu(name, **changes):
    """A pooling with the parameters of its YAML file."""
    node = OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"))
    function = getattr(poolings, node.pop("_target_").removeprefix("neuroprint.embedding.poolings."))
    assert node.pop("_partial_") is True
    return partial(function, **(node | changes))


def maps(shape, seed=0):
    """Features, and a brain with full, partial and empty cells."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=shape).astype(np.float32) + 0.3
    brain = np.clip(rng.uniform(-0.5, 1.5, size=shape[1:]), 0, 1).astype(np.float32)
    brain.flat[0] = 1
    return features, brain


def pool(pooling, features, brain):
    return pooling(torch.from_numpy(features), torch.from_numpy(brain)).numpy()


def gem_by_definition(cells, _):
    return (np.maximum(cells, 1e-6) ** 3).mean(axis=1) ** (1 / 3)


def strongest(cells, _):
    count = max(1, round(0.05 * cells.shape[1]))
    return np.sort(cells, axis=1)[:, -count:].mean(axis=1)


def covariance_by_definition(cells, weights):
    if len(cells) > 32:
        mix = torch.randn(32, len(cells), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        cells = mix.numpy() / np.sqrt(len(cells)) @ cells
    matrix = (
        np.atleast_2d(np.cov(cells, aweights=weights, ddof=0)) if cells.shape[1] > 1 else np.zeros((len(cells),) * 2)
    )
    upper = matrix[np.triu_indices(len(cells))]
    return np.sign(upper) * np.sqrt(np.abs(upper))


REFERENCES = {
    "mean": lambda cells, _: cells.mean(axis=1),
    "max": lambda cells, _: cells.max(axis=1),
    "std": lambda cells, _: cells.std(axis=1),
    "mean_std": lambda cells, _: np.concatenate([cells.mean(axis=1), cells.std(axis=1)]),
    "gem": gem_by_definition,
    "quantile": lambda cells, _: np.quantile(cells, [0.1, 0.5, 0.9], axis=1).ravel(),
    "top_mean": strongest,
    "foreground_mean": lambda cells, weights: np.average(cells, axis=1, weights=weights),
    "covariance": covariance_by_definition,
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", REFERENCES)
def test_poolings_are_what_numpy_says(name, shape):
    features, brain = maps(shape)
    expected = REFERENCES[name](features.reshape(shape[0], -1).astype(np.float64), brain.ravel().astype(np.float64))
    EXACT(pool(from_menu(name), features, brain), expected)


def test_every_pooling_has_a_menu_entry_and_a_reference():
    assert set(MENU) == {*REFERENCES, *FULL}


@pytest.mark.parametrize("name", MENU)
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 3, 2, 4), (5, 1, 1, 1), (4, 2, 1, 3)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_pooling_is_finite_and_leaves_its_inputs_alone(name, shape, dtype):
    pooling = from_menu(name)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    largest = torch.finfo(torch.float32 if dtype == torch.float64 else dtype).max
    sizes = set()
    for features in (noise, 0 * noise, 0 * noise + 0.1, torch.full(shape, -3.7), noise.sign() * largest):
        for brain in (torch.zeros(shape[1:]), torch.ones(shape[1:]), torch.full(shape[1:], 1e-6)):
            given, weights = features.to(dtype), brain.clone()
            found = pooling(given, weights)
            assert found.dtype == torch.float32 and found.ndim == 1 and found.isfinite().all()
            assert torch.equal(given, features.to(dtype)) and torch.equal(weights, brain)
            assert torch.equal(found, pooling(given, weights))
            sizes.add(len(found))
    assert len(sizes) == 1


@pytest.mark.parametrize("name", MENU)
def test_half_precision_features_are_pooled_in_full_precision(name):
    features, brain = (torch.from_numpy(array) for array in maps((3, 24, 25, 26)))
    half = (60 * features).half()  # the plain sum of these overflows in float16
    assert torch.equal(from_menu(name)(half, brain), from_menu(name)(half.float(), brain))


@pytest.mark.parametrize("name", MENU)
def test_infinite_features_are_not_hidden(name):
    features = torch.full((2, 3, 3, 3), torch.inf)
    assert not from_menu(name)(features, torch.ones(3, 3, 3)).isfinite().any()


@pytest.mark.parametrize("name", MENU)
def test_cpu_and_gpu_agree(name):
    if not torch.cuda.is_available():
        pytest.skip("this machine has no GPU")
    features, brain = (torch.from_numpy(array) for array in maps((40, 7, 8, 9)))
    found = from_menu(name)(features.cuda(), brain.cuda())
    assert found.is_cuda
    EXACT(found.cpu(), from_menu(name)(features, brain))


@pytest.mark.parametrize("name", ["foreground_mean", "covariance", "pyramid", "spatial_softmax", "center_of_mass"])
@pytest.mark.parametrize("statistic", ["mean", "max"])
def test_poolings_of_the_brain_do_not_see_the_padding(name, statistic):
    features, brain = maps((3, 6, 7, 5))
    changes = {"statistic": statistic} if name == "pyramid" else {}
    gaps = [(2, 1), (0, 5), (3, 0)]
    wider = np.pad(features, [(0, 0), *gaps], constant_values=9)
    assert wider.shape == (3, 9, 12, 8)
    pooling = from_menu(name, **changes)
    EXACT(pool(pooling, wider, np.pad(brain, gaps)), pool(pooling, features, brain))


@pytest.mark.parametrize(
    ("name", "parameter", "value"),
    [
        ("gem", "p", 0.0),
        ("gem", "eps", 0.0),
        ("quantile", "q", [0.5, 1.5]),
        ("quantile", "q", []),
        ("top_mean", "share", 0.0),
        ("pyramid", "cells", [1, 0]),
        ("pyramid", "statistic", "median"),
        ("spatial_softmax", "temperature", 0.0),
        ("covariance", "rank", 0),
    ],
)
def test_values_that_cannot_work_are_named(name, parameter, value):
    with pytest.raises(NeuroprintError, match=rf"pooling\.{parameter}="):
        from_menu(name, **{parameter: value})(torch.zeros(2, 2, 2, 2), torch.ones(2, 2, 2))


def test_gem_is_the_mean_at_one_and_tends_to_the_maximum():
    features = np.abs(maps((3, 4, 5, 6))[0]) + 0.01
    brain = np.ones((4, 5, 6), np.float32)
    EXACT(pool(from_menu("gem", p=1.0), features, brain), pool(poolings.mean, features, brain))
    np.testing.assert_allclose(
        pool(from_menu("gem", p=500.0), features, brain), features.max(axis=(1, 2, 3)), rtol=0.01
    )


def test_covariance_of_few_channels_is_not_mixed():
    features, brain = maps((4, 3, 3, 3))
    assert np.array_equal(
        pool(from_menu("covariance", rank=4), features, brain), pool(from_menu("covariance", rank=99), features, brain)
    )
    assert pool(from_menu("covariance", rank=3), features, brain).shape == (6,)


# The pyramid


def overlap(a, b, c, d):
    return max(0.0, min(b, d) - max(a, c))


def pyramid_by_definition(features, low, high, cells, statistic):
    """Cell by cell, from the box's faces in cells."""
    found = []
    for n in cells:
        for part in product(range(n), repeat=3):
            faces = [
                (low[a] + (high[a] - low[a]) * k / n, low[a] + (high[a] - low[a]) * (k + 1) / n)
                for a, k in enumerate(part)
            ]
            values, weights = [], []
            for cell in product(*(range(size) for size in features.shape[1:])):
                weight = np.prod([overlap(i, i + 1, *face) for i, face in zip(cell, faces, strict=True)])
                if weight > 1e-9:
                    values.append(features[:, *cell])
                    weights.append(weight)
            found.append(np.average(values, axis=0, weights=weights) if statistic == "mean" else np.max(values, axis=0))
    return np.concatenate(found)


@pytest.mark.parametrize("statistic", ["mean", "max"])
@pytest.mark.parametrize(
    ("shape", "low", "high"),
    [
        ((2, 6, 7, 5), (0.75, 1.5, 0), (5.25, 6, 5)),
        ((3, 4, 4, 4), (0, 0, 0), (4, 4, 4)),
        ((2, 1, 3, 2), (0, 0.5, 0), (1, 3, 2)),
    ],
)
def test_pyramid_is_what_its_definition_says(statistic, shape, low, high):
    features, _ = maps(shape)
    brain = box_brain(shape[1:], low, high)
    found = pool(from_menu("pyramid", cells=[1, 3, 4], statistic=statistic), features, brain)
    EXACT(found, pyramid_by_definition(features, low, high, [1, 3, 4], statistic))


def test_the_first_part_of_a_pyramid_is_the_mean_or_maximum_of_the_box():
    features, _ = maps((3, 6, 7, 5))
    brain = box_brain((6, 7, 5), (1, 2, 0), (5, 6, 4))
    inside = features[:, 1:5, 2:6, 0:4]
    EXACT(pool(from_menu("pyramid", cells=[1]), features, brain), inside.mean(axis=(1, 2, 3)))
    EXACT(pool(from_menu("pyramid", cells=[1], statistic="max"), features, brain), inside.max(axis=(1, 2, 3)))


# Positions

SIDE = 4  # input voxels in a cell


def box_brain(shape, low, high):
    """The share that a box, its faces in cells, has in each cell."""
    shares = [[overlap(i, i + 1, low[axis], high[axis]) for i in range(size)] for axis, size in enumerate(shape)]
    return np.einsum("x,y,z->xyz", *map(np.array, shares)).astype(np.float32)


def head(center, radii, tumor, size=48, spread=0.3, seed=0):
    """An ellipsoid brain with a bright blob, in input voxels, averaged to cells: features (1, X, Y, Z) and brain.

    ``tumor`` and ``spread`` are relative to the ellipsoid's radii: the whole head moves and scales at once.
    """
    grid = np.stack(np.meshgrid(*[np.arange(size) + 0.5] * 3, indexing="ij"))
    relative = (grid - np.reshape(center, (3, 1, 1, 1))) / np.reshape(radii, (3, 1, 1, 1))
    brain = (relative**2).sum(axis=0) < 1
    apart = ((relative - np.reshape(tumor, (3, 1, 1, 1))) ** 2).sum(axis=0)
    noise = np.random.default_rng(seed).normal(size=brain.shape)
    image = brain * (5 * np.exp(-apart / (2 * spread**2)) + 0.2 * noise)
    cells = (size // SIDE, SIDE) * 3
    average = [array.reshape(cells).mean(axis=(1, 3, 5)).astype(np.float32) for array in (image, brain)]
    return average[0][None], average[1]


def position(*arguments, **keywords):
    return pool(from_menu("spatial_softmax"), *head(*arguments, **keywords))


def test_spatial_softmax_is_the_papers_formula():
    features, _ = maps((3, 5, 4, 6))
    low, high = np.array([0.5, 1, 0]), np.array([4.75, 4, 5.5])
    brain = box_brain((5, 4, 6), low, high)
    for temperature in (0.3, 1.0):
        expected = []
        for channel in features.astype(np.float64):
            mean = np.average(channel, weights=brain)
            z = (channel - mean) / np.sqrt(np.average((channel - mean) ** 2, weights=brain))
            weight = brain * np.exp(z / temperature)
            cells = np.stack(np.indices(channel.shape)) + 0.5
            middle, half = (low + high) / 2, (high - low) / 2
            expected.append([np.average((cells[a] - middle[a]) / half[a], weights=weight) for a in range(3)])
        found = pool(from_menu("spatial_softmax", temperature=temperature), features, brain)
        EXACT(found, np.transpose(expected).ravel())


def test_the_expected_position_follows_a_moving_blob_linearly():
    rng = np.random.default_rng(0)
    at = rng.uniform(-0.5, 0.5, size=(30, 3))
    found = []
    for number, tumor in enumerate(at):
        # No two heads lie alike or are of one size.
        center, radii = 24 + rng.uniform(-3, 3, size=3), rng.uniform(0.8, 1.1) * np.array((17, 20, 16))
        found.append(position(center, radii, tumor, seed=number))
    for axis, coordinate in enumerate(np.transpose(found)):
        assert np.corrcoef(coordinate, at[:, axis])[0, 1] > 0.99
        assert 0.5 < np.polyfit(at[:, axis], coordinate, 1)[0] < 1.1


def test_a_position_ignores_where_the_head_lies():
    tumor = (0.4, -0.3, 0.2)
    reference = position((24, 24, 24), (17, 20, 16), tumor)
    for shift in [(4, 0, -4), (1, 2, 3), (-2, 1.5, 2.5), (0.5, -3.3, 0)]:  # whole and broken cells of four voxels
        moved = position(np.add((24, 24, 24), shift), (17, 20, 16), tumor)
        np.testing.assert_allclose(moved, reference, atol=0.03)


def test_a_position_scales_with_the_brains_box():
    tumor = (0.4, -0.3, 0.2)
    reference = position((24, 24, 24), (17, 20, 16), tumor)
    for scale in (0.7, 0.85, 1.15):
        scaled = position((24, 24, 24), scale * np.array((17, 20, 16)), tumor)
        np.testing.assert_allclose(scaled, reference, atol=0.03)


def softmax_of_a_full_map(features):
    """The paper's formula where the brain fills the map: its box is the map."""
    centered = features - features.mean(axis=(1, 2, 3), keepdims=True)
    deviation = features.std(axis=(1, 2, 3), keepdims=True)
    flat = deviation < 1e-6 * np.abs(features).max(axis=(1, 2, 3), keepdims=True)
    share = np.exp(np.where(flat, 0, centered / np.where(flat, 1, deviation)))
    share /= share.sum(axis=(1, 2, 3), keepdims=True)
    places = [(2 * np.arange(n) + 1 - n) / n for n in features.shape[1:]]
    return np.concatenate(
        [np.einsum(f"cxyz,{axis}->c", share, place) for axis, place in zip("xyz", places, strict=True)]
    )


def mass_of_a_full_map(features):
    mass = 1 / (1 + np.exp(-features))
    places = [(2 * np.arange(n) + 1 - n) / n for n in features.shape[1:]]
    moments = [np.einsum(f"cxyz,{axis}->c", mass, place) for axis, place in zip("xyz", places, strict=True)]
    return np.concatenate(moments) / np.tile(mass.sum(axis=(1, 2, 3)), 3)


FULL = {
    "pyramid": lambda features: pyramid_by_definition(features, (0, 0, 0), features.shape[1:], [1, 2, 4], "mean"),
    "spatial_softmax": softmax_of_a_full_map,
    "center_of_mass": mass_of_a_full_map,
}


@pytest.mark.parametrize("content", ["constant", "noise in float16", "one cell stands out"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", MENU)
def test_odd_maps_are_pooled_as_the_definitions_say(name, shape, content):
    features, _ = maps(shape)
    brain = np.ones(shape[1:], np.float32)
    if content == "noise in float16":
        features = features.astype(np.float16)
    else:
        features = np.full_like(features, 0.7)
        features[:, -1, 0, 0] += 3.0 * (content == "one cell stands out")
    exact = features.astype(np.float64)
    cells = exact.reshape(shape[0], -1)
    expected = FULL[name](exact) if name in FULL else REFERENCES[name](cells, brain.ravel().astype(np.float64))
    EXACT(pool(from_menu(name), features, brain), expected)


def test_the_center_of_mass_of_a_segmentation_is_the_regions():
    """Whatever the network's certainty, as long as it has some, and however small the region."""
    low, high = np.array([1, 2.5, 0]), np.array([9, 9, 8])
    brain = box_brain((10, 10, 9), low, high)
    region = np.zeros((2, 10, 10, 9), bool)
    region[0, 3:7, 4:6, 1:8] = region[1, 5, 6, 2] = True
    for certainty in (12, 40):
        found = pool(from_menu("center_of_mass"), np.where(region, certainty, -certainty).astype(np.float32), brain)
        at = np.stack([np.argwhere(channel).mean(axis=0) + 0.5 for channel in region])
        expected = (2 * at - low - high) / (high - low)
        np.testing.assert_allclose(found, expected.T.ravel(), atol=2e-3)


def test_a_sharp_softmax_puts_the_boxs_faces_at_one():
    brain = box_brain((8, 8, 8), (1, 2, 0), (7, 6, 8))
    features = np.zeros((1, 8, 8, 8), np.float32)
    features[0, 6, 2, 7] = 1  # the box's last, first and last cell
    found = pool(from_menu("spatial_softmax", temperature=0.01), features, brain)
    np.testing.assert_allclose(found, [1 - 1 / 6, -1 + 1 / 4, 1 - 1 / 8], atol=1e-6)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_temperature_does_not_depend_on_the_features_unit(scale):
    features, brain = maps((3, 5, 4, 6))
    EXACT(
        pool(from_menu("spatial_softmax"), (scale * features).astype(np.float32), brain),
        pool(from_menu("spatial_softmax"), features, brain),
    )


def test_a_channel_without_contrast_gives_the_center_of_gravity():
    brain = box_brain((8, 6, 5), (1.25, 2, 0), (6.5, 5, 5))
    features = np.full((2, 8, 6, 5), 0.1, np.float32)
    center = [(np.indices(brain.shape)[a] + 0.5) for a in range(3)]
    middle, half = [3.875, 3.5, 2.5], [2.625, 1.5, 2.5]
    expected = [(np.average(center[a], weights=brain) - middle[a]) / half[a] for a in range(3)]
    EXACT(pool(from_menu("spatial_softmax"), features, brain), np.repeat(expected, 2))


def test_a_speck_in_the_air_hardly_moves_a_position():
    features, brain = head((20, 24, 24), (13, 16, 14), (0.3, 0.2, -0.4))
    specked = brain.copy()
    specked[-1, -1, -1] = 1 / SIDE**3  # one input voxel
    found = pool(from_menu("spatial_softmax"), features, specked)
    np.testing.assert_allclose(found, pool(from_menu("spatial_softmax"), features, brain), atol=0.02)
