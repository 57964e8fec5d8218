"""A cohort of made-up patients on real anatomy, for when there is nothing to download."""

from neuroprint.phantom.cohort import write_cohort
from neuroprint.phantom.generate import make_phantom
from neuroprint.phantom.types import GENERATOR_VERSION, PHANTOM_MODALITIES, TISSUES, Phantom, PhantomSettings

__all__ = [
    "GENERATOR_VERSION",
    "PHANTOM_MODALITIES",
    "TISSUES",
    "Phantom",
    "PhantomSettings",
    "make_phantom",
    "write_cohort",
]
