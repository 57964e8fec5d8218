"""From a plain configuration node to the object that its ``_target_`` names."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from neuroprint.catalog.monai_import import import_monai
from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    from neuroprint.catalog.gate import Gate

WORDS = ("_target_", "_partial_", "_recursive_", "_args_", "_convert_", "_unused_")
"""Keys of a node that are not arguments."""


def instantiate(node: Mapping[str, Any], where: str, gate: Gate | None = None, **also: Any) -> Any:
    """The object that a node describes, as ``hydra.utils.instantiate`` would make it.

    Known are ``_target_``, ``_args_``, ``_partial_`` (give back the callable with its arguments bound),
    ``_recursive_: false`` (hand over nodes inside as they are) and ``_unused_``: names of keys that are there for sweeps
    only, and that the target does not take.

    Args:
        node: A mapping with ``_target_``; of OmegaConf or plain.
        where: Where it comes from, for messages: a group of conf/, such as ``pooling``.
        gate: What may be built, for a node that does not come from this command line. None builds anything.
        also: Further arguments, which win over the node's.

    Raises:
        NeuroprintError: The target does not exist, the gate refuses it, or it cannot be built.

    Example:
        >>> instantiate({"_target_": "fractions.Fraction", "_args_": [1, 2]}, "example")
        Fraction(1, 2)
    """
    content = plain(node)
    if gate is not None:
        gate.check(content, where)
    return _made({**content, **also}, where)


def plain(node: Any) -> Any:
    """A node of OmegaConf as plain containers, interpolations resolved; anything else as it is."""
    if not type(node).__module__.startswith("omegaconf"):
        return node
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        return OmegaConf.to_container(node, resolve=True, throw_on_missing=True, enum_to_str=True)
    except OmegaConfBaseException as error:
        raise NeuroprintError(f"{error.full_key}: {str(error.msg or error).splitlines()[0]}") from error


def locate(target: str, where: str) -> Any:
    """The attribute at a dotted path below the longest part of it that is a module.

    Raises:
        NeuroprintError: There is none.
    """
    parts = target.split(".")
    if parts[0] == "monai":
        import_monai()
    problem = "there is no such module"
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        try:
            found: Any = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name and not (name == error.name or name.startswith(f"{error.name}.")):
                raise NeuroprintError(f"{where}: {target} cannot be imported: {error}") from error
            continue
        except Exception as error:  # whatever a module of the user's own raises when it is imported
            raise NeuroprintError(f"{where}: {target} cannot be imported: {_line(error)}") from error
        for part in parts[length:]:
            if not hasattr(found, part):
                problem = f"{name} has no {part}"
                break
            found = getattr(found, part)
        else:
            return found
        break
    raise NeuroprintError(f"{where}: {target} cannot be found: {problem}")


def _made(node: Any, where: str) -> Any:
    if isinstance(node, list | tuple):
        return [_made(item, where) for item in node]
    if not isinstance(node, Mapping):
        return node

    def inside(item: Any) -> Any:
        return item if node.get("_recursive_") is False else _made(item, where)

    if "_target_" not in node:
        return {key: inside(item) for key, item in node.items()}
    target = str(node["_target_"])
    made = locate(target, where)
    if not callable(made):
        raise NeuroprintError(f"{where}: {target} cannot be called")
    try:
        unused = {*WORDS, *node.get("_unused_", ())}
        arguments = {str(key): inside(item) for key, item in node.items() if key not in unused}
        positional = [inside(item) for item in node.get("_args_", ())]
        return partial(made, *positional, **arguments) if node.get("_partial_") else made(*positional, **arguments)
    except NeuroprintError:
        raise
    except Exception as error:  # whatever a constructor of the user's own raises
        raise NeuroprintError(f"{where}: {target} cannot be built: {_line(error)}") from error


def _line(error: BaseException) -> str:
    return re.sub(r"\s+", " ", str(error) or type(error).__name__)
