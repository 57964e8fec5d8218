"""A combination takes of every encoder the chosen levels that it has, and of its order only the names decide."""

from dataclasses import dataclass, field

import pytest

from neuroprint.encoders.base import InputSpec, Level
from neuroprint.encoders.combined import CombinedEncoder, choose_levels
from neuroprint.encoders.swin_unetr import SwinUNETREncoder
from neuroprint.encoders.twins import untrained_twin
from neuroprint.encoders.voxels import VoxelEncoder
from neuroprint.errors import NeuroprintError


@dataclass(frozen=True)
class Fake:
    """Named levels and nothing behind them."""

    names: tuple[str, ...]
    trained: bool = True
    input: InputSpec = field(default_factory=lambda: InputSpec(("flair",)))

    @property
    def levels(self):
        return tuple(Level(name, 4, 2) for name in self.names)

    @property
    def default_level(self):
        return self.names[-1]


DEEP, FLAT, VOXELS = Fake(("stem", "stage1", "stage2")), Fake(("stem", "out")), VoxelEncoder()
BOTH = CombinedEncoder({"a": DEEP, "b": VOXELS})


@pytest.mark.parametrize(
    ("layer", "chosen"),
    [(None, ("stage2",)), (0, ("stem",)), ("stage1", ("stage1",)), (["stage2", 0], ("stage2", "stem"))],
)
def test_a_single_encoder_gives_the_chosen_levels_in_their_order(layer, chosen):
    assert choose_levels(DEEP, layer) == ((DEEP, chosen),)


@pytest.mark.parametrize(
    ("layer", "deep"),
    [
        (None, ("stage2",)),
        ("stage1", ("stage1",)),
        (1, ("stage1",)),
        (["stage2", "stem"], ("stage2", "stem")),
        (["stage1", "voxels"], ("stage1",)),
        ("voxels", ("stage2",)),
    ],
)
def test_an_encoder_without_any_of_the_chosen_levels_gives_its_default(layer, deep):
    assert choose_levels(BOTH, layer) == ((DEEP, deep), (VOXELS, ("voxels",)))


def test_levels_are_chosen_in_every_encoder_that_has_them():
    assert choose_levels(CombinedEncoder({"a": DEEP, "b": FLAT}), ["stem", "out"]) == (
        (DEEP, ("stem",)),
        (FLAT, ("stem", "out")),
    )


def test_vectors_are_joined_in_the_alphabetical_order_of_the_names():
    assert CombinedEncoder({"z": DEEP, "a": FLAT}).encoders == (FLAT, DEEP)


def test_a_level_that_no_encoder_has_is_refused_with_what_there_is():
    with pytest.raises(NeuroprintError, match=r"layer=stage7: .* 0 \(stem\), 1 \(stage1\), 2 \(stage2\); 0 \(voxels\)"):
        choose_levels(BOTH, ["stage1", "stage7"])
    with pytest.raises(NeuroprintError, match=r"layer=3: this encoder has the levels 0 \(stem\), 1 \(stage1\), 2"):
        choose_levels(DEEP, 3)


@pytest.mark.parametrize("encoders", [{}, {"a": DEEP}])
def test_a_combination_of_less_than_two_is_refused(encoders):
    with pytest.raises(NeuroprintError, match="at least two encoders"):
        CombinedEncoder(encoders)


def test_a_combination_is_trained_if_all_of_it_is():
    assert BOTH.trained
    assert not CombinedEncoder({"a": DEEP, "b": SwinUNETREncoder(["flair"])}).trained


def test_the_twin_of_a_combination_keeps_what_has_no_twin():
    class Trained(Fake):
        def untrained(self):
            return Fake(self.names, trained=False)

    twin = untrained_twin(CombinedEncoder({"b": Trained(("one",)), "a": VOXELS}))
    assert twin.encoders == (VOXELS, Fake(("one",), trained=False))
    assert untrained_twin(BOTH) is None
    assert untrained_twin(twin) is None
