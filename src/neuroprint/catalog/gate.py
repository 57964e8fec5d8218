"""The gate for configurations that come from elsewhere: from a run's artifacts, or from a bundle.

Whatever such a file names is called with arguments of the file's choice. So each role may name neuroprint's own classes and
functions of that role; a projection also the classes of scikit-learn that are listed here; and the network of
``encoder=module`` also layers of PyTorch's and networks of MONAI's. Some of these fetch weights when they are made, from an
address or a file that they are told: a file may tell them none.

A package of the user's own passes if the user names it (``--trust PACKAGE``).
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any

from neuroprint.catalog.instantiate import WORDS, locate
from neuroprint.errors import NeuroprintError

# Where neuroprint's own things of a role are defined, and what they must offer.
_HOMES = {
    "dataset": (("neuroprint.data.formats.", "neuroprint.phantom."), "cohort"),
    "encoder": (("neuroprint.encoders.",), "load"),
    "inferer": (("neuroprint.embedding.inferers.",), "__call__"),
    "pooling": (("neuroprint.embedding.poolings.",), None),
    "projection": (("neuroprint.evaluation.",), "fit"),
    "probe": (("neuroprint.evaluation.",), "predict"),
    "task": (("neuroprint.tasks.",), "question"),
    "metric": (("neuroprint.evaluation.",), None),
}
_SCIKIT_LEARN = frozenset(
    f"sklearn.{name}"
    for name in (
        "decomposition.FactorAnalysis",
        "decomposition.FastICA",
        "decomposition.IncrementalPCA",
        "decomposition.PCA",
        "decomposition.TruncatedSVD",
        "discriminant_analysis.LinearDiscriminantAnalysis",
        "neighbors.NeighborhoodComponentsAnalysis",
        "preprocessing.Normalizer",
        "preprocessing.StandardScaler",
        "random_projection.GaussianRandomProjection",
    )
)
# Nodes inside a node that have a role of their own, by the role of the node and the key they lie under.
_INSIDE = {
    ("encoder", "encoders"): "encoder",
    ("projection", "steps"): "projection",
    ("task", "extra_metrics"): "metric",
}
_NETWORKS = ("torch.nn.", "monai.networks.")
_FETCHING = re.compile(r"pretrained.*|weights|checkpoint", re.DOTALL)  # arguments of MONAI's networks
_ADDRESS = re.compile(r"\s*[a-z][a-z0-9+.-]*:", re.IGNORECASE)  # begins with a scheme: https:, file:


class Gate:
    """Refuses what a file from elsewhere may not name.

    Args:
        trust: Packages whose classes and functions pass, by name.

    Example:
        >>> Gate().check({"_target_": "os.system", "command": "ls"}, "pooling")
        Traceback (most recent call last):
        ...
        neuroprint.errors.NeuroprintError: pooling: os.system is not one of neuroprint's own: ...
    """

    def __init__(self, trust: Sequence[str] = ()) -> None:
        self.trust = tuple(trust)

    def check(self, node: Any, role: str) -> None:
        """Refuse a node that names what it may not.

        Args:
            node: A plain node with ``_target_``.
            role: A group of conf/, or ``metric``.

        Raises:
            NeuroprintError: In one line, naming it.
        """
        target = node.get("_target_") if isinstance(node, Mapping) else node
        if not isinstance(node, Mapping) or not isinstance(target, str):
            raise NeuroprintError(f"{role}: expected a node with _target_, found {str(target)[:80]!r}")
        if not self._is_trusted(target) and not _is_own(target, role):
            package = target.partition(".")[0]
            raise NeuroprintError(
                f"{role}: {target[:80]} is not one of neuroprint's own: it is loaded only with --trust {package[:40]}, "
                "if you trust that package's code"
            )
        for key, item in node.items():
            if key not in WORDS:
                self._check_argument(item, role, str(key))
        for item in node.get("_args_") or ():
            self._check_argument(item, role, "_args_")

    def _check_argument(self, item: Any, role: str, key: str) -> None:
        inner = _INSIDE.get((role, key))
        if inner is not None:
            for node in _values(item):
                self.check(node, inner)
        elif role == "encoder" and key == "network":
            self._check_network(item, f"{role}.{key}")
        else:
            self._check_plain(item, f"{role}.{key}")

    def _check_plain(self, item: Any, where: str) -> None:
        if isinstance(item, Mapping):
            target = item.get("_target_")
            if target is not None and not self._is_trusted(str(target)):
                raise NeuroprintError(f"{where}: {str(target)[:80]} may not be named here by a file from elsewhere")
            for key, value in item.items():
                self._check_plain(value, f"{where}.{key}")
        elif isinstance(item, list | tuple):
            for value in item:
                self._check_plain(value, where)
        elif isinstance(item, str) and "${" in item:
            raise NeuroprintError(f"{where}: a file from elsewhere may hold no interpolation ({item[:60]!r})")

    def _check_network(self, item: Any, where: str) -> None:
        if isinstance(item, Mapping):
            target = item.get("_target_")
            if target is not None and not self._is_trusted(str(target)) and not _is_network(target):
                raise NeuroprintError(
                    f"{where}: {str(target)[:80]} may not be named by a file from elsewhere: inside an encoder's network "
                    "it may name layers of torch.nn and networks of monai.networks"
                )
            self._check_fetches_nothing(item, where)
            for key, value in item.items():
                self._check_network(value, f"{where}.{key}" if key != "_target_" else where)
        elif isinstance(item, list | tuple):
            for value in item:
                self._check_network(value, where)
        elif isinstance(item, str) and "${" in item:
            raise NeuroprintError(f"{where}: a file from elsewhere may hold no interpolation ({item[:60]!r})")
        elif isinstance(item, str) and _ADDRESS.match(item):
            raise NeuroprintError(f"{where}: a file from elsewhere may name no address ({item[:60]!r})")

    def _check_fetches_nothing(self, node: Mapping[str, Any], where: str) -> None:
        for name, value in _arguments(node).items():
            if _FETCHING.fullmatch(name) and value is not None and value is not False:
                raise NeuroprintError(
                    f"{where}.{name}: a file from elsewhere may name no network that fetches weights when it is made "
                    f"({str(value)[:60]}): say {name}: null, or false, and give the weights as encoder.weights"
                )

    def _is_trusted(self, target: str) -> bool:
        return any(target.startswith(f"{package}.") for package in self.trust)


def _values(item: Any) -> list[Any]:
    return list(item.values()) if isinstance(item, Mapping) else list(item or ())


def _is_own(target: str, role: str) -> bool:
    """Whether a name is that of one of neuroprint's own things of a role, or of a listed class of scikit-learn's.

    What counts is where the object was defined, not the path to it: ``neuroprint.x.os.system`` is of the module ``os``.
    """
    if role == "projection" and target in _SCIKIT_LEARN:
        return True
    homes, method = _HOMES.get(role, ((), None))
    if not homes or not target.startswith(tuple(home.rpartition(".")[0] for home in homes)):
        return False
    try:
        made = locate(target, role)
    except NeuroprintError:
        return False
    defined = f"{getattr(made, '__module__', '')}.{getattr(made, '__qualname__', '')}"
    if not defined.startswith(homes) or defined.rpartition(".")[2].startswith("_"):
        return False
    if method is None:
        return inspect.isfunction(made) or (role == "metric" and inspect.isclass(made))
    return inspect.isclass(made) and any(method in vars(base) for base in made.__mro__)


def _is_network(target: Any) -> bool:
    if not isinstance(target, str) or not target.startswith(_NETWORKS):
        return False
    import torch

    try:
        made = locate(target, "encoder.network")
    except NeuroprintError:
        return False
    return inspect.isclass(made) and issubclass(made, torch.nn.Module) and f"{made.__module__}.".startswith(_NETWORKS)


def _arguments(node: Mapping[str, Any]) -> dict[str, Any]:
    """What a node says by name, and what its target would be given by position or by default."""
    named = {str(key): value for key, value in node.items() if key not in WORDS}
    if "_target_" not in node:
        return named
    try:
        made = locate(str(node["_target_"]), "encoder.network")
        bound = inspect.signature(made).bind_partial(*node.get("_args_", ()), **named)
    except (NeuroprintError, TypeError, ValueError):  # it could not be made either
        return named
    bound.apply_defaults()
    return {**bound.arguments, **named}
