"""A PyTorch network of one channel. A stage gives two tensors, as those of many published networks do."""

from torch import Tensor, nn
from torch.nn.functional import max_pool3d


class Stage(nn.Module):
    """A convolution: its map at half the resolution for the next stage, and the map itself."""

    def __init__(self, inside: int, out: int) -> None:
        super().__init__()
        self.ops = nn.Sequential(nn.Conv3d(inside, out, 3, padding=1), nn.ReLU())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.ops(x)
        return max_pool3d(features, 2), features


class TwoStages(nn.Module):
    """Eight channels at the input's resolution, sixteen at half of it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Stage(1, 8), Stage(8, 16)

    def forward(self, x: Tensor) -> list[Tensor]:
        pooled, first = self.first(x)
        return [first, self.second(pooled)[1]]
