"""The weights that come with the package: what they are said to be, and able to do what they are for."""

import numpy as np
import pytest

from neuroprint.catalog.menu import Catalog
from neuroprint.data.digests import file_sha256
from neuroprint.data.formats.brats import BraTSFormat
from neuroprint.encoders.checkpoints import PRETRAINED
from neuroprint.phantom import write_cohort
from neuroprint.training.score import dice_of_cases

DEFAULT = Catalog().node("encoder", "swin_unetr_phantom")
FILE = PRETRAINED / DEFAULT["weights"]
LARGEST_BYTES = 32_000_000


@pytest.fixture(scope="module")
def encoder():
    return Catalog().part("encoder", "swin_unetr_phantom").made


def test_the_file_is_the_one_that_the_configuration_names_and_small_enough():
    assert file_sha256(FILE) == DEFAULT["sha256"]
    assert FILE.stat().st_size <= LARGEST_BYTES


def test_it_outlines_tumors_that_it_has_never_seen(encoder, tmp_path):
    write_cohort(tmp_path / "unseen", cases=2, spacing_mm=2.0, seed=17, workers=1)
    dice = np.array(list(dice_of_cases(encoder, BraTSFormat(tmp_path / "unseen").cohort().cases)))
    assert (dice[:, 0] > 0.7).all(), dice
