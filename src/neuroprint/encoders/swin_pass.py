"""The forward pass of MONAI's Swin transformer on a processor, in a fraction of the time and memory: equal numbers.

MONAI lays out a bias for every shifted window, though all but those at the far faces have the same: at feature size 48
that is gigabytes a block. And it copies the whole map for every step of a block. Here one row of windows after the other
goes through all steps of its block, in memory that the processor's cache can hold, and windows that share a bias share
one copy of it. The sums are MONAI's; a test holds every level against its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

_TOKENS = 2**14  # that go through a linear layer at once
_PLANES = 8  # that are merged at once: an even number
Triple = tuple[int, int, int]
Segment = tuple[int, slice]


def swin_maps(transformer: Any, batch: Tensor, normalize: bool) -> list[Tensor]:
    """What ``transformer(batch, normalize)`` gives, for a 3-D ``SwinTransformer`` of MONAI's in evaluation mode.

    Args:
        transformer: ``SwinUNETR.swinViT`` without residual convolutions (``use_v2=False``), all in float32.
        batch: ``(B, C, X, Y, Z)``, every size a multiple of 32.
        normalize: Layer norm over the channels of what is given back.

    Returns:
        One ``(B, channels, X, Y, Z)`` a level.
    """
    import torch

    x = transformer.patch_embed(batch)
    maps = [transformer.proj_out(x, normalize)]
    for (layer,) in (transformer.layers1, transformer.layers2, transformer.layers3, transformer.layers4):
        x = x.permute(0, 2, 3, 4, 1)
        # Blocks write in place; without the norm that would be into the map that is given back.
        x = x.contiguous() if normalize else x.clone(memory_format=torch.contiguous_format)
        for block in layer.blocks:
            _run_block(block, x)
        merged = [layer.downsample(x[:, plane : plane + _PLANES]) for plane in range(0, x.shape[1], _PLANES)]
        x = torch.cat(merged, dim=1).permute(0, 4, 1, 2, 3)
        maps.append(transformer.proj_out(x, normalize))
    return maps


def _run_block(block: Any, x: Tensor) -> None:
    """One block on ``(B, X, Y, Z, C)``, in place: no two rows of windows have a plane in common."""
    import torch
    from monai.networks.nets.swin_unetr import get_window_size

    window, shift = get_window_size(tuple(x.shape[1:4]), block.window_size, block.shift_size)
    biases = _Biases(block.attn, window, shift)
    rows = list(_rows(x.shape[1], window[0], shift[0]))
    for number, row in enumerate(rows):
        attended = _attended(block, x, row, window, shift, biases, last=number == len(rows) - 1)
        for offset, planes in row:
            new = x[:, planes] + attended[:, offset : offset + planes.stop - planes.start]
            for tokens in torch.split(new.view(-1, new.shape[-1]), _TOKENS):
                tokens += block.mlp(block.norm2(tokens))
            x[:, planes] = new


def _rows(size: int, window: int, shift: int) -> Iterator[list[Segment]]:
    """For each row of windows along an axis: where in the row planes lie, and which these are.

    Windows start ``shift`` planes in; the last row holds the axis' first planes too. Between lies what is padded.
    """
    padded = -(-size // window) * window
    for first in range(shift, padded + shift, window):
        end = first + window
        row = [(0, slice(first, end if end < size else size)), (padded - first, slice(0, end - padded))]
        yield [(offset, planes) for offset, planes in row if planes.start < planes.stop]


def _attended(
    block: Any, x: Tensor, row: Sequence[Segment], window: Triple, shift: Triple, biases: _Biases, last: bool
) -> Tensor:
    """Attention within each window of a row: ``(B, window, Y, Z, C)``."""
    import torch

    batch, _, *sizes, channels = x.shape
    windows_y, windows_z = (-(-size // edge) for size, edge in zip(sizes, window[1:], strict=True))
    padded = x.new_zeros(batch, window[0], windows_y * window[1], windows_z * window[2], channels)
    for offset, planes in row:
        into = padded[:, offset : offset + planes.stop - planes.start, : sizes[0], : sizes[1]]
        into.copy_(block.norm1(x[:, planes]))
    if any(shift):
        padded = torch.roll(padded, (-shift[1], -shift[2]), (2, 3))
    split = padded.view(batch, window[0], windows_y, window[1], windows_z, window[2], channels)
    windows = split.permute(0, 2, 4, 1, 3, 5, 6).reshape(batch, windows_y, windows_z, -1, channels)
    for (last_y, part_y), (last_z, part_z) in product(_kinds(windows_y), _kinds(windows_z)):
        alike = windows[:, part_y, part_z]
        if alike.numel():
            bias = biases.of(last, last_y, last_z)
            windows[:, part_y, part_z] = _attention(block.attn, alike.flatten(0, 2), bias).view(alike.shape)
    joined = windows.view(batch, windows_y, windows_z, *window, channels).permute(0, 3, 1, 4, 2, 5, 6)
    joined = joined.reshape(padded.shape)
    if any(shift):
        joined = torch.roll(joined, (shift[1], shift[2]), (2, 3))
    return joined[:, :, : sizes[0], : sizes[1]]


def _kinds(count: int) -> tuple[tuple[bool, slice], tuple[bool, slice]]:
    """Windows along an axis that share a bias: all but the last, and the last."""
    return (False, slice(0, count - 1)), (True, slice(count - 1, count))


def _attention(attention: Any, windows: Tensor, bias: Tensor) -> Tensor:
    """Attention within windows ``(n, tokens, C)`` of one bias."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    parts = []
    for some in torch.split(windows, _TOKENS // windows.shape[1] or 1):
        count, tokens, channels = some.shape
        query, key, value = attention.qkv(some).view(count, tokens, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=attention.scale)
        parts.append(attention.proj(mixed.transpose(1, 2).reshape(count, tokens, channels)))
    return torch.cat(parts)


class _Biases:
    """What is added to the attention of a block's windows: by relative position, and against looking across a seam.

    Only the last windows along a shifted axis hold a seam, so there are eight kinds.
    """

    def __init__(self, attention: Any, window: Triple, shift: Triple) -> None:
        from monai.networks.nets.swin_unetr import compute_mask

        tokens = window[0] * window[1] * window[2]
        places = attention.relative_position_index[:tokens, :tokens].reshape(-1)
        table = attention.relative_position_bias_table
        self._bias: Tensor = table[places].view(tokens, tokens, -1).permute(2, 0, 1).contiguous()
        # Of two windows along each axis, the second has what the last of many has.
        masks = compute_mask([2 * edge for edge in window], window, shift, table.device) if any(shift) else None
        self._masks = masks
        self._known: dict[tuple[bool, bool, bool], Tensor] = {}

    def of(self, *last: bool) -> Tensor:
        """``(1, heads, tokens, tokens)`` of the windows that are the last along these axes."""
        if self._masks is None:
            return self._bias[None]
        x, y, z = last
        if (x, y, z) not in self._known:
            self._known[x, y, z] = self._bias[None] + self._masks[4 * x + 2 * y + z]
        return self._known[x, y, z]
