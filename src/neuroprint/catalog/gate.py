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

# Where neuroprint's own things of a role are defined, and what a class of it offers, one of these; poolings are functions.
_HOMES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "dataset": (("neuroprint.data.formats.", "neuroprint.phantom."), ("cohort",)),
    "encoder": (("neuroprint.encoders.",), ("trained",)),
    "inferer": (("neuroprint.embedding.inferers.",), ("__call__",)),
    "pooling": (("neuroprint.embedding.poolings.",), ()),
    "projection": (("neuroprint.evaluation.",), ("fit", "fit_transform")),
    "probe": (("neuroprint.evaluation.",), ("predict",)),
    "task": (("neuroprint.tasks.",), ("question",)),
    "perturb": (("neuroprint.embedding.perturbations.",), ("change",)),
    "metric": (("neuroprint.evaluation.",), ()),
}
_SCIKIT_LEARN = frozenset(
    f"sklearn.{name}"
    for name in (
        "decomposition.FactorAnalysis",
        "decomposition.FastICA",
        "decomposition.IncrementalPCA",
        "decomposition.PCA",
        "decomposition.TruncatedSVD",
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
    ("perturb", "parts"): "perturb",
}
_OWN = "neuroprint"
_NETWORKS = ("torch.nn.", "monai.networks.")
_FETCHING = re.compile(r"pretrained.*|weights|checkpoint", re.DOTALL)  # arguments of MONAI's networks
_ADDRESS = re.compile(r"\s*[a-z][a-z0-9+.-]*:", re.IGNORECASE)  # begins with a scheme: https:, file:


class Gate:
    """Refuses what a file from elsewhere may not name.

    Args:
        trust: Packages whose classes and functions pass, by name. Never neuroprint: it holds much that is of no role.

    Raises:
        NeuroprintError: neuroprint is among the trusted packages.

    Example:
        >>> Gate().check({"_target_": "os.system", "command": "ls"}, "pooling")
        Traceback (most recent call last):
        ...
        neuroprint.errors.NeuroprintError: pooling: os.system is not one of neuroprint's own: ...
    """

    def __init__(self, trust: Sequence[str] = ()) -> None:
        if any(name.partition(".")[0] == _OWN for name in trust):
            raise NeuroprintError("--trust neuroprint: its own classes pass without; name the package of yours")
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
            if package in self.trust:
                raise NeuroprintError(
                    f"{role}: {target[:80]} is of another package than {package[:40]}, which is trusted"
                )
            if package == _OWN:
                raise NeuroprintError(f"{role}: {target[:80]} may not be named here: it is no {role} of neuroprint's")
            raise NeuroprintError(
                f"{role}: {target[:80]} is not one of neuroprint's own: it is loaded only with --trust {package[:40]}, "
                "if you trust that package's code"
            )
        for key, item in node.items():
            if key not in WORDS:
                self._check_argument(item, role, str(key))
        positional = node.get("_args_", [])
        if not isinstance(positional, list | tuple):
            raise NeuroprintError(f"{role}._args_: expected a list, found {str(positional)[:80]!r}")
        for item in positional:
            self._check_argument(item, role, "_args_")

    def _check_argument(self, item: Any, role: str, key: str) -> None:
        inner = _INSIDE.get((role, key))
        if inner is not None:
            for node in _values(item, f"{role}.{key}"):
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
                    "it may name layers of torch.nn and networks of monai.networks; others are loaded only with --trust "
                    f"{str(target).partition('.')[0][:40]}, if you trust that package's code"
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
        """Whether a name begins with a trusted package and what it names is of one: ``mine.os.system`` is not of ``mine``."""
        package = next((name for name in self.trust if target.startswith(f"{name}.")), None)
        if package is None:
            return False
        parts = target.split(".")
        try:
            passed = [locate(".".join(parts[:end]), "") for end in range(package.count(".") + 2, len(parts) + 1)]
        except NeuroprintError:
            return True  # there is no such thing: whoever makes it says so
        homes = [thing.__name__ for thing in passed if inspect.ismodule(thing)]
        if inspect.isroutine(passed[-1]) or inspect.isclass(passed[-1]):
            homes.append(passed[-1].__module__ or package)
        return all(f"{home}.".startswith(tuple(f"{name}." for name in self.trust)) for home in homes)


def _values(item: Any, where: str) -> list[Any]:
    if not isinstance(item, Mapping | list | tuple | None):
        raise NeuroprintError(f"{where}: expected nodes with _target_, found {str(item)[:80]!r}")
    return list(item.values()) if isinstance(item, Mapping) else list(item or ())


def _is_own(target: str, role: str) -> bool:
    """Whether a name is that of one of neuroprint's own things of a role, or of a listed class of scikit-learn's.

    What counts is where the object was defined, not the path to it: ``neuroprint.x.os.system`` is of the module ``os``.
    """
    if role == "projection" and target in _SCIKIT_LEARN:
        return True
    homes, offers = _HOMES.get(role, ((), ()))
    if not homes or not target.startswith(tuple(home.rpartition(".")[0] for home in homes)):
        return False
    try:
        made = locate(target, role)
    except NeuroprintError:
        return False
    defined = f"{getattr(made, '__module__', '')}.{getattr(made, '__qualname__', '')}"
    if not defined.startswith(homes) or defined.rpartition(".")[2].startswith("_"):
        return False
    if not offers:
        return inspect.isfunction(made) or (role == "metric" and inspect.isclass(made))
    return inspect.isclass(made) and any(name in vars(base) for base in made.__mro__ for name in offers)


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
