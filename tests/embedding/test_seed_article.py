"""experiment=seed_article against the published snippet, step by step as it was written down."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from scipy.ndimage import center_of_mass

from neuroprint.catalog.menu import CONF
from neuroprint.data.facts import center_mm
from neuroprint.data.formats.brats import BraTSFormat
from neuroprint.data.measure import measure
from neuroprint.data.volume import read_volume
from neuroprint.embedding.poolings import mean
from neuroprint.experiment.configuration import register_schema
from neuroprint.experiment.experiment import Experiment
from neuroprint.experiment.session import Session

ORDER = ("flair", "t1ce", "t1", "t2")
WINDOW = 64
CROP = (slice(80, 160), slice(60, 124), slice(40, 104))  # of a real scan: two windows along x, not aligned


def composed(*overrides):
    register_schema()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides=list(overrides), return_hydra_config=True)


def article(*overrides) -> Experiment:
    given = ["experiment=seed_article", f"inferer.window={WINDOW}", *overrides]
    config = composed(*given)
    return Experiment.of(config, dict(config.hydra.runtime.choices), given, Session())


def published_embedding(files, state):
    """The snippet: nothing of this package."""
    from monai.inferers import SlidingWindowInferer
    from monai.networks.nets import SwinUNETR
    from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, NormalizeIntensityd

    model = SwinUNETR(in_channels=4, out_channels=3, feature_size=12, window_size=4)
    model.load_state_dict(state)
    model.eval()
    transform = Compose(
        [
            LoadImaged(keys=["image"]),
            EnsureChannelFirstd(keys=["image"], channel_dim="no_channel"),
            NormalizeIntensityd(keys=["image"], nonzero=True, channel_wise=True),
        ]
    )
    image = transform({"image": [str(file) for file in files]})["image"]
    assert image.shape[:2] == (1, 4)  # the added axis: one "channel" to normalize, and the batch of the network
    inferer = SlidingWindowInferer(roi_size=(WINDOW,) * 3, sw_batch_size=1, overlap=0.25)
    with torch.no_grad():
        maps = inferer(image, model.swinViT)
    return image[0].numpy(), maps[4].mean(dim=(2, 3, 4))[0].numpy(), tuple(maps[4].shape[2:])


def synthetic_case(root):
    """An ellipsoid of noise, each modality at a scale of its own, on a grid that takes two windows along y, not aligned."""
    rng = np.random.default_rng(0)
    shape = (64, 70, 64)
    grid = np.stack(np.meshgrid(*(np.linspace(-1.2, 1.2, n) for n in shape), indexing="ij"))
    brain = (grid**2).sum(axis=0) < 1
    images = {name: (rng.normal(300 * n, 60, shape) * brain).astype(np.int16) for n, name in enumerate(ORDER, start=1)}
    label = np.select([grid[0] > 0.4, grid[0] > 0.1], [4, 2], 0) * brain * (grid[1] > 0)
    return write(root, images, label, np.diag([-1.0, -1, 1, 1]))


def real_case(root, cohort):
    """The middle of a real patient's scans: the whole takes minutes."""
    case = BraTSFormat(str(cohort)).cohort().cases[0]
    images = {name: nib.load(case.images[name].path) for name in ORDER}
    cut = {name: np.asarray(image.dataobj)[CROP] for name, image in images.items()}
    return write(root, cut, np.asarray(nib.load(case.label.path).dataobj)[CROP], images["flair"].affine)


def write(root, images, label, affine):
    folder = root / "cohort" / "Case_00000"
    folder.mkdir(parents=True)
    for name, array in {**images, "seg": label.astype(np.uint8)}.items():
        nib.save(nib.Nifti1Image(array, affine), folder / f"Case_00000_{name}.nii.gz")
    return BraTSFormat(str(root / "cohort")).cohort().cases[0]


@pytest.mark.slow
@pytest.mark.parametrize("patient", ["synthetic", "real"])
def test_the_embedding_is_that_of_the_published_snippet(tmp_path, patient, request):
    make = {"synthetic": synthetic_case, "real": lambda root: real_case(root, request.getfixturevalue("real_cohort"))}
    case = make[patient](tmp_path)
    experiment = article("encoder=untrained", "encoder.feature_size=12", "encoder.seed=3")
    recipe = experiment.recipe
    volume = read_volume(case, ORDER)
    facts = measure(volume, "brats")

    extractor = replace(recipe.requests(ORDER)[0].extractor, poolings={"mean": mean})
    prepared = extractor.prepare(volume, facts.brain_box)
    (pooled,) = extractor.run([prepared], extractor.encoder.load("cpu"), "cpu")
    found = pooled.vectors["stage4|mean"]

    state = recipe.encoder.made.network("cpu").state_dict()
    image, expected, cells = published_embedding([case.images[name].path for name in ORDER], state)
    np.testing.assert_allclose(
        prepared.image, image, atol=2e-4
    )  # not resampled, cropped or padded; normalized together
    assert np.std([channel[channel != 0].mean() for channel in image]) > 0.1
    assert cells == tuple(size // 32 for size in volume.images.shape[1:])  # cut, as MONAI does
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).mean())

    # The article has the label volume's center of mass in voxels; in mm it is where the affine puts that point.
    label = nib.load(case.label.path)
    expected_mm = nib.affines.apply_affine(label.affine, center_of_mass(np.asarray(label.dataobj)))
    task = experiment.task
    np.testing.assert_allclose(center_mm(facts, task.region, "label", task.frame), expected_mm)


def test_the_preset_is_the_recipe():
    experiment = article()
    recipe, config = experiment.recipe, experiment.config
    assert (recipe.layer, recipe.pooling.name, experiment.projection.name) == ("stage4", "mean", "none")
    assert recipe.inferer.made.identity | {"monai": None} == {
        "inferer": "monaiwindows",
        "window": WINDOW,
        "overlap": 0.25,
        "monai": None,
    }
    read = recipe.encoder.made.input
    assert (read.normalization, read.spacing_mm, read.crop) == ("nonzero_joint", None, "image")
    assert (experiment.similarity, config.map.value, config.perplexity) == ("dot", "tsne", 50)
    assert (experiment.task.frame, experiment.task.radius_mm) == ("world", 20)


def test_its_sweep_weighs_the_label_as_the_article_does_and_as_all_others_do():
    assert composed("experiment=seed_article").hydra.sweeper.params == {"task.weighting": "label,binary"}
    weightings = [article(f"task.weighting={weighting}").task.weighting for weighting in ("label", "binary")]
    assert weightings == ["label", "binary"]
