"""Building what a bundle's files name, and only what is known to do no more than a bundle needs.

A bundle comes from somebody else. Its files name Python objects by ``_target_``; whatever is named is called with arguments
of the bundle's choice. So an encoder has to be one of neuroprint's encoder classes, an inferer one of its inferers and a
pooling one of its poolings; inside them nothing else is built but, as the network of ``encoder=module``, layers of PyTorch's
and networks of MONAI's. Some of these fetch weights when they are made, from an address or a file that they are told: a
bundle may tell them none.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

from neuroprint.errors import NeuroprintError

Role = Literal["encoder", "inferer", "pooling"]

_HOMES = {
    "encoder": "neuroprint.encoders.",
    "inferer": "neuroprint.embedding.inferers.",
    "pooling": "neuroprint.embedding.poolings.",
}
_NETWORKS = ("torch.nn.", "monai.networks.")
_WORDS = ("_target_", "_partial_", "_recursive_", "_convert_")
_FETCHING = re.compile(r"pretrained.*|weights|checkpoint", re.DOTALL)  # arguments of MONAI's networks
_ADDRESS = re.compile(r"\s*[a-z][a-z0-9+.-]*:", re.IGNORECASE)  # begins with a scheme: https:, file:


def check(node: Any, role: Role) -> None:
    """Refuse a node that names what a bundle may not.

    Raises:
        NeuroprintError: In one line, naming it.
    """
    if not isinstance(node, Mapping) or not _is_ours(node.get("_target_"), role):
        name = node.get("_target_") if isinstance(node, Mapping) else node
        raise NeuroprintError(
            f"{role}: a bundle cannot hold {str(name)[:80]}: only neuroprint's own {role}s can be rebuilt from it"
        )
    _check_arguments({key: value for key, value in node.items() if key not in _WORDS}, role)


def build(node: Mapping[str, Any], role: Role) -> Any:
    """The object that a plain configuration node describes, as Hydra's instantiate would make it.

    Raises:
        NeuroprintError: It names something that a bundle may not, or cannot be built.
    """
    check(node, role)
    made = _resolved(str(node["_target_"]))
    arguments = {str(key): value for key, value in node.items() if key not in _WORDS}
    if node.get("_partial_"):
        return partial(made, **arguments)
    try:
        return made(**arguments)
    except (TypeError, ValueError) as error:
        raise NeuroprintError(f"{role}: {node['_target_']} cannot be built: {' '.join(str(error).split())}") from error


def _check_arguments(node: Any, where: str) -> None:
    if isinstance(node, Mapping):
        if "_target_" in node and not (where.startswith("encoder.network") and _is_network(node["_target_"])):
            raise NeuroprintError(
                f"{where}: a bundle cannot hold {str(node['_target_'])[:80]}: inside an encoder's network it may name "
                "layers of torch.nn and networks of monai.networks, elsewhere nothing"
            )
        if where.startswith("encoder.network"):
            _check_fetches_nothing(node, where)
        for key, item in node.items():
            _check_arguments(item, f"{where}.{key}")
    elif isinstance(node, list | tuple):
        for item in node:
            _check_arguments(item, where)
    elif isinstance(node, str) and "${" in node:
        raise NeuroprintError(f"{where}: a bundle cannot hold the interpolation {node[:60]!r}")
    elif isinstance(node, str) and where.startswith("encoder.network") and _ADDRESS.match(node):
        raise NeuroprintError(f"{where}: a bundle cannot hold the address {node[:60]!r}: its networks fetch nothing")


def _check_fetches_nothing(node: Mapping[str, Any], where: str) -> None:
    for name, value in _arguments(node).items():
        if _FETCHING.fullmatch(name) and value is not None and value is not False:
            raise NeuroprintError(
                f"{where}.{name}: a bundle cannot hold a network that fetches weights when it is made ({str(value)[:60]}): "
                f"say {name}: null, or false, and give the weights as encoder.weights"
            )


def _arguments(node: Mapping[str, Any]) -> dict[str, Any]:
    """What a node says by name, and what its target would be given by position or by default."""
    named = {str(key): value for key, value in node.items() if key not in (*_WORDS, "_args_")}
    if "_target_" not in node:
        return named
    try:
        bound = inspect.signature(_resolved(str(node["_target_"]))).bind_partial(*node.get("_args_", ()), **named)
    except (TypeError, ValueError):  # it could not be made either
        return named
    bound.apply_defaults()
    return {**bound.arguments, **named}


def _is_ours(target: Any, role: Role) -> bool:
    """Whether a name is that of one of neuroprint's encoders, inferers or poolings.

    What counts is where the object was defined, not the path to it: ``neuroprint.x.os.system`` is of the module ``os``.
    """
    if not isinstance(target, str) or not target.startswith(_HOMES[role]):
        return False
    made = _resolved(target)
    if not f"{getattr(made, '__module__', '')}.".startswith(_HOMES[role]) or target.rpartition(".")[2].startswith("_"):
        return False
    if role == "pooling":
        return inspect.isfunction(made)
    method = "load" if role == "encoder" else "__call__"
    return inspect.isclass(made) and any(method in vars(base) for base in made.__mro__)


def _is_network(target: Any) -> bool:
    if not isinstance(target, str) or not target.startswith(_NETWORKS):
        return False
    import torch

    made = _resolved(target)
    return inspect.isclass(made) and issubclass(made, torch.nn.Module) and f"{made.__module__}.".startswith(_NETWORKS)


def _resolved(target: str) -> Any:
    """The attribute at a dotted path below the longest part of it that is a module; None where there is none."""
    parts = target.split(".")
    for length in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:length]))
        except (ImportError, ValueError):
            continue
        for part in parts[length:]:
            found = getattr(found, part, None)
        return found
    return None
