"""What Hydra and OmegaConf complain about, in plain lines that name the right keys and choices."""

from __future__ import annotations

from collections.abc import Iterable

from hydra.errors import MissingConfigException
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException, ValidationError

from neuroprint.catalog.menu import suggestion
from neuroprint.errors import NeuroprintError


def explain(error: BaseException) -> str:
    """The message for the person who typed the command: what is wrong, and what would be right."""
    if isinstance(error, NeuroprintError):
        return str(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _wrong_choice(error)
    for cause in _causes(error):
        if isinstance(cause, ConfigAttributeError | ConfigKeyError):
            return _wrong_key(cause)
        if isinstance(cause, ValidationError):
            return f"{cause.full_key}: {str(cause.msg or cause).splitlines()[0]}"
    if isinstance(error, OmegaConfBaseException):
        return f"{error.full_key or 'configuration'}: {str(error.msg or error).splitlines()[0]}"
    return str(error)


def _causes(error: BaseException) -> Iterable[BaseException]:
    cause: BaseException | None = error
    seen: set[int] = set()  # an exception raised again can be in its own context
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def _wrong_choice(error: MissingConfigException) -> str:
    group, _, choice = str(error.missing_cfg_file).rpartition("/")
    options = sorted(error.options or ())
    if not options:
        return str(error)
    return f"{group}={choice}: there is no such choice. {suggestion(choice, options)}"


def _wrong_key(error: OmegaConfBaseException) -> str:
    node = error.parent_node
    known = sorted(str(key) for key in node) if isinstance(node, DictConfig) else []
    key = str(error.key)
    return f"{error.full_key or key}: there is no such key. {suggestion(key, [k for k in known if k != 'hydra'])}"
