"""The menu of poolings: what conf/ offers, what a configuration asks for, and what it is called."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from omegaconf import DictConfig, OmegaConf

from neuroprint.catalog.build import build
from neuroprint.experiment.configuration import CONF
from neuroprint.embedding.poolings import Pooling
from neuroprint.errors import NeuroprintError


def pooling_name(node: DictConfig) -> str:
    """A pooling's canonical name: the function, and its parameters in alphabetical order."""
    target = str(node["_target_"])
    name = target.removeprefix("neuroprint.embedding.poolings.")
    parameters = sorted((str(key), _canonical(node[key])) for key in node if not str(key).startswith("_"))
    return f"{name}({', '.join(f'{key}={value}' for key, value in parameters)})" if parameters else name


def _canonical(value: Any) -> str:
    """One text for one value: 3 and 3.0 are the same parameter."""
    if OmegaConf.is_list(value):
        return f"[{', '.join(_canonical(item) for item in value)}]"
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


_built: dict[str, Pooling] = {}


def build_pooling(node: DictConfig) -> Pooling:
    """The pooling of a configuration, tried out; built once a process, since it is a function and holds nothing."""
    content = _content(node)
    if content not in _built:
        pooling = build("pooling", node)
        if content not in _menu_contents():
            _try_pooling(node, pooling)
        _built[content] = pooling
    return _built[content]


def _content(node: DictConfig) -> str:
    return json.dumps(OmegaConf.to_container(node, resolve=True), sort_keys=True)


def _try_pooling(node: DictConfig, pooling: Pooling) -> None:
    """Call a pooling that has parameters on a tiny map: a wrong one must not wait for the first scan to be read.

    Raises:
        NeuroprintError: The pooling refuses its parameters.
    """
    if not [key for key in node if not str(key).startswith("_")]:
        return
    import torch

    try:
        pooling(torch.arange(54.0).reshape(2, 3, 3, 3), torch.ones(3, 3, 3))
    except (TypeError, ValueError, RuntimeError) as error:
        raise NeuroprintError(f"pooling: {pooling_name(node)} cannot be called: {error}") from error


@cache
def menu() -> dict[str, Pooling]:
    """Every pooling in conf/pooling, with its default parameters, by canonical name; read once a process."""
    return {pooling_name(node): build("pooling", node) for node in _menu_nodes()}


@cache
def _menu_contents() -> frozenset[str]:
    return frozenset(map(_content, _menu_nodes()))


@cache
def _menu_nodes() -> tuple[DictConfig, ...]:
    nodes = [OmegaConf.load(path) for path in sorted((CONF / "pooling").glob("*.yaml"))]
    return tuple(node for node in nodes if isinstance(node, DictConfig))
