"""Feature maps from inside any network, by forward hooks on its sub-modules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from neuroprint.encoders.base import Forward, Level
from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


class _EnoughError(Exception):
    """All that was asked for is there: the rest of the network need not run."""


def tap(network: Module, names: Sequence[str]) -> Forward:
    """The network as a function from a batch to its sub-modules' outputs; what comes after the last of them is not run.

    Args:
        network: Gets a forward hook on each named sub-module.
        names: Sub-modules by dotted name. Of one that runs several times, the first output counts.

    Raises:
        NeuroprintError: There is no such sub-module, or, when called, one did not run.
    """
    seen: dict[str, Any] = {}

    def watch(name: str) -> None:
        def keep(module: Module, inputs: Any, output: Any) -> None:
            # Copied, since the network may go on to change it in place.
            seen.setdefault(name, output.clone() if hasattr(output, "clone") else output)
            if len(seen) == len(names):
                raise _EnoughError

        modules[name].register_forward_hook(keep)

    def forward(batch: Tensor) -> list[Tensor]:
        seen.clear()
        with suppress(_EnoughError):
            network(batch)
        idle = [name for name in names if name not in seen]
        if idle:
            raise NeuroprintError(f"encoder.levels: {', '.join(idle)} did not run in the network's forward pass")
        found = [seen[name] for name in names]
        seen.clear()
        return found

    modules = dict(network.named_modules())
    for name in names:
        if name not in modules or not name:
            raise NeuroprintError(f"encoder.levels: the network has no sub-module {name!r}; {_similar(name, modules)}")
        watch(name)
    return forward


@contextmanager
def watch_weights(network: Module) -> Iterator[set[str]]:
    """Collect the names of the weights that the network reads inside the ``with`` block.

    Every operation's arguments are looked at, so that also weights count whose module is not called, as in attention.

    Args:
        network: On a processor.

    Yields:
        Names as in its ``state_dict()``, filled in when the block ends.

    Example:
        >>> import torch
        >>> network = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.Linear(2, 2))
        >>> with watch_weights(network) as read:
        ...     _ = network[0](torch.zeros(1, 2))
        >>> read
        {'0.weight'}
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    places: set[int] = set()

    class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call] # PyTorch's mode carries no types
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            given = (item for item in tree_leaves((args, kwargs)) if isinstance(item, torch.Tensor))
            places.update(item.untyped_storage().data_ptr() for item in given)
            return function(*args, **kwargs or {})

    names: set[str] = set()
    with Watch():  # type: ignore[no-untyped-call]
        yield names
    state = network.state_dict()
    names.update(name for name, tensor in state.items() if tensor.untyped_storage().data_ptr() in places)


def measure_levels(forward: Forward, names: Sequence[str], batch: Tensor) -> tuple[Level, ...]:
    """Channels and strides of a tapped network's levels, from one forward pass.

    Args:
        forward: As :func:`tap` gives it.
        names: The same names.
        batch: ``(1, C, X, Y, Z)``.

    Raises:
        NeuroprintError: An output is no feature map, or its size is no whole fraction of the input's.
    """
    import torch

    sizes = tuple(batch.shape[2:])
    levels = []
    with torch.inference_mode():
        maps = forward(batch)
    for name, features in zip(names, maps, strict=True):
        if not isinstance(features, torch.Tensor) or features.ndim != 5:
            what = tuple(features.shape) if isinstance(features, torch.Tensor) else type(features).__name__
            raise NeuroprintError(
                f"encoder.levels: {name} gives {what}, not a feature map (1, channels, X, Y, Z); take another sub-module"
            )
        shape = tuple(features.shape[2:])
        stride = max(1, round(sizes[0] / shape[0]))
        if any(size != cells * stride for size, cells in zip(sizes, shape, strict=True)):
            raise NeuroprintError(
                f"encoder.levels: {name} gives {shape} cells of {sizes} voxels: one whole stride along all axes is needed"
            )
        levels.append(Level(name, features.shape[1], stride))
    return tuple(levels)


def _similar(name: str, modules: dict[str, Module]) -> str:
    close = get_close_matches(name, modules, n=5, cutoff=0.5)
    top = [module for module in modules if module and "." not in module]
    return f"similar: {', '.join(close)}" if close else f"it begins with {', '.join(top[:8])}"
