"""The menu: conf/'s entries by group and name, for those who have no Hydra at hand."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuroprint.catalog.instantiate import instantiate, plain
from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    from omegaconf import DictConfig

# In an installed wheel conf/ lies inside the package; in a checkout it stands beside src/.
_PLACES = (Path(__file__).parents[1] / "conf", Path(__file__).parents[3] / "conf")
CONF = next((folder for folder in _PLACES if (folder / "config.yaml").is_file()), _PLACES[-1])
"""The menu that comes with neuroprint."""


@dataclass(frozen=True, eq=False)
class Part:
    """One choice.

    Attributes:
        name: What it is called: its entry in conf/, or the name of its class or function.
        node: Its configuration with ``_target_``, plain and resolved; None where it was given as an object that does not
            say how it was made. Such a part can be used, but not exported.
        made: The object.
    """

    name: str
    node: Mapping[str, Any] | None
    made: Any


class Catalog:
    """The entries of conf/ and of folders that are laid out like it.

    Args:
        more: Further folders. Where two have an entry of one name, the one that comes with neuroprint counts.

    Attributes:
        folders: All of them, conf/ first.

    Example:
        >>> catalog = Catalog()
        >>> catalog.part("pooling", "gem", p=2.0).node["p"]
        2.0
    """

    def __init__(self, more: Sequence[Path | str] = ()) -> None:
        self.folders = (CONF, *(Path(folder).expanduser() for folder in more))
        for folder in self.folders:
            if not folder.is_dir():
                raise NeuroprintError(
                    f"there is no folder {folder}: it was to hold further choices, laid out like conf/"
                )

    def names(self, group: str) -> tuple[str, ...]:
        """The entries of a group, in alphabetical order."""
        return tuple(sorted({path.stem for folder in self.folders for path in (folder / group).glob("*.yaml")}))

    def part(self, group: str, choice: Any, **values: Any) -> Part:
        """A choice by its name in conf/, by a node with ``_target_``, or as the object itself.

        Args:
            group: A group of conf/, such as ``pooling``.
            choice: A name, a node, an object, or a :class:`Part`, which is given back.
            values: In the place of those of the entry, or of the top level, such as ``components``.

        Raises:
            NeuroprintError: There is no such entry or value, or the object cannot be built.
        """
        if isinstance(choice, Part):
            return choice
        if isinstance(choice, str):
            node = self.node(group, choice, **values)
            return Part(choice, node, instantiate(node, group))
        if values:
            raise NeuroprintError(f"{group}: {', '.join(values)} can be given with the name of an entry only")
        if isinstance(choice, Mapping) and "_target_" in choice:
            node = plain(choice)
            return Part(str(node["_target_"]).rpartition(".")[2], node, instantiate(node, group))
        return Part(name_of(choice), node_of(choice), choice)

    def node(self, group: str, name: str, **values: Any) -> dict[str, Any]:
        """An entry as a plain node, with what it refers to (``${components}``) resolved as in conf/config.yaml.

        Raises:
            NeuroprintError: There is no such entry or value, or one that has no default was not given.
        """
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException

        entry, root = self._entry(group, name), self._root()
        own, shared = list(map(str, entry)), list(map(str, root))  # "in" would not find what is missing
        for given, value in values.items():
            if given not in (*own, *shared):
                known = [*(key for key in own if not key.startswith("_")), *shared]
                raise NeuroprintError(f"{group}={name} has no {given}. {suggestion(str(given), known)}")
            try:
                (entry if given in own else root)[str(given)] = value
            except OmegaConfBaseException as error:
                raise NeuroprintError(
                    f"{group}={name}: {given}={value!r} is no plain value: give a number, a text, a list or a mapping"
                ) from error
        root[group] = entry
        for key in own:
            if OmegaConf.is_missing(entry, key):
                raise NeuroprintError(f"{group}={name}: {key} is missing: give it as {key}=VALUE")
        found: dict[str, Any] = plain(root[group])
        return found

    def _entry(self, group: str, name: str) -> DictConfig:
        """An entry with those that its list ``defaults`` names merged in, as Hydra would."""
        from omegaconf import DictConfig, OmegaConf

        own = _load(self._path(group, name))
        listed = own.pop("defaults", [])
        merged: Any = OmegaConf.create({})
        for item in listed if "_self_" in listed else [*listed, "_self_"]:
            if item == "_self_":
                merged = OmegaConf.merge(merged, own)
                continue
            source, place, chosen = _default(item, group, f"{group}={name}")
            inner = self._entry(source, chosen)
            merged = OmegaConf.merge(merged, _nested(place, inner) if place else inner)
        assert isinstance(merged, DictConfig)  # noqa: S101 # of two DictConfigs OmegaConf makes a third
        return merged

    def _path(self, group: str, name: str) -> Path:
        for folder in self.folders:
            path = folder / group / f"{name}.yaml"
            if path.parent == folder / group and path.is_file():
                return path
        known = self.names(group)
        if known:
            raise NeuroprintError(f"{group}={name}: there is no such choice. {suggestion(name, list(known))}")
        groups = sorted({place.name for folder in self.folders for place in folder.iterdir() if place.is_dir()})
        raise NeuroprintError(f"{group}={name}: there is no group {group}. {suggestion(group, groups)}")

    def _root(self) -> DictConfig:
        """The values at the top of conf/config.yaml, which entries refer to."""
        from omegaconf import DictConfig, OmegaConf

        root = OmegaConf.load(CONF / "config.yaml")
        assert isinstance(root, DictConfig)  # noqa: S101 # it comes with the package
        for key in ("defaults", "hydra"):
            root.pop(key)
        return root


def name_of(made: Any) -> str:
    """What an object is called: the name of the function, or of the class."""
    inner = made.func if isinstance(made, partial) else made
    return str(getattr(inner, "__name__", type(inner).__name__))


def node_of(made: Any) -> dict[str, Any] | None:
    """How to make an object again, where it says so itself: a function, or one with plain arguments bound by name."""
    arguments: Mapping[str, Any] = made.keywords if isinstance(made, partial) else {}
    function = made.func if isinstance(made, partial) else made
    if not inspect.isfunction(function) or "<" in function.__qualname__ or bool(getattr(made, "args", None)):
        return None
    if not all(map(_is_plain, arguments.values())):
        return None
    return {"_target_": f"{function.__module__}.{function.__qualname__}", "_partial_": True, **arguments}


def suggestion(given: str, known: list[str]) -> str:
    """What might have been meant, and what there is."""
    close = get_close_matches(given, known, n=1)
    meant = f"Did you mean {close[0]}? " if close else ""
    return f"{meant}There is: {', '.join(known)}"


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float)


def _load(path: Path) -> DictConfig:
    from omegaconf import DictConfig, OmegaConf
    from yaml import YAMLError

    try:
        found = OmegaConf.load(path)
    except (OSError, ValueError, YAMLError) as error:
        raise NeuroprintError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(found, DictConfig):
        raise NeuroprintError(f"{path} is no entry: expected keys and values")
    return found


def _default(item: Any, group: str, where: str) -> tuple[str, str, str]:
    """Group, place and name of an entry in a list ``defaults``; an empty place is the top."""
    if isinstance(item, str) and not {"/", "@", " "} & set(item):
        return group, "", item
    key, chosen = next(iter(item.items())) if isinstance(item, Mapping) and len(item) == 1 else ("", None)
    source, at, place = str(key).partition("@")
    if not (source.startswith("/") and at and place and isinstance(chosen, str)):
        raise NeuroprintError(
            f"{where}: its list defaults holds {item}, which only Hydra reads: expected _self_, a name of the same group, "
            "or /GROUP@KEY: NAME"
        )
    return source.removeprefix("/"), place, chosen


def _nested(place: str, node: Any) -> DictConfig:
    from omegaconf import OmegaConf

    made = OmegaConf.create({})
    OmegaConf.update(made, place, node)
    return made
