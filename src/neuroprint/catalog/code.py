"""Which code a configuration names: results of code that has changed since are not reused."""

from __future__ import annotations

import hashlib
import inspect
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from neuroprint.catalog.instantiate import locate

_OWN = "neuroprint"


def foreign_code(node: Any) -> dict[str, dict[str, str | None]]:
    """Version of the package and SHA-256 of the source, of every ``_target_`` in a node that is not neuroprint's own.

    The source is the file that defines it; not what that file imports from others.

    Args:
        node: A plain node; nodes inside it are gone through.

    Example:
        >>> sorted(foreign_code({"_target_": "fractions.Fraction"})["fractions.Fraction"])
        ['source', 'version']
    """
    if isinstance(node, list | tuple):
        return {target: code for item in node for target, code in foreign_code(item).items()}
    if not isinstance(node, dict):
        return {}
    found = foreign_code(list(node.values()))
    target = str(node.get("_target_", ""))
    if target and target.partition(".")[0] != _OWN:
        found[target] = _code_of(locate(target, "code"), target)
    return found


def class_code(made: type) -> dict[str, dict[str, str | None]]:
    """The same of a class that is there already, and of those it inherits from; Python's own are left out.

    Example:
        >>> from sklearn.decomposition import PCA
        >>> list(class_code(PCA))[0]
        'sklearn.decomposition._pca.PCA'
        >>> class_code(dict)
        {}
    """
    foreign = [
        base for base in made.__mro__ if base.__module__.partition(".")[0] not in (_OWN, *sys.stdlib_module_names)
    ]
    return {f"{base.__module__}.{base.__qualname__}": _code_of(base, base.__module__) for base in foreign}


def _code_of(made: Any, module: str) -> dict[str, str | None]:
    # The cells of a notebook are no file, and the one that Python started with is not theirs.
    source = _methods(made) if module == "__main__" and inspect.isclass(made) else None
    if source is None:
        with suppress(TypeError, OSError):  # built in: there is no source
            file = inspect.getsourcefile(made)
            source = hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else None
    return {"version": _version(module.partition(".")[0]), "source": source}


def _methods(made: type) -> str | None:
    """Digest of the text of a class's own methods, which a notebook keeps though it has no file."""
    found = []
    for member in vars(made).values():
        function = getattr(member, "fget", None) or getattr(member, "func", None) or getattr(member, "__func__", member)
        with suppress(TypeError, OSError):
            found.append(inspect.getsource(function))
    return hashlib.sha256("\n".join(found).encode()).hexdigest() if found else None


def _version(package: str) -> str | None:
    """A package's version: as it was installed, else as it says; sklearn is installed as scikit-learn."""
    with suppress(PackageNotFoundError, ValueError):
        return version(package).split("+")[0]
    said = getattr(sys.modules.get(package), "__version__", None)
    return None if said is None else str(said)
