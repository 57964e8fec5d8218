"""From a node of the configuration to the object that its ``_target_`` names."""

from __future__ import annotations

import re
from typing import Any

from neuroprint.errors import NeuroprintError


def build(group: str, node: Any, **also: Any) -> Any:
    """Hydra's instantiate, with its errors put in one line.

    Args:
        group: Where in conf/ the node comes from, for the message.
        node: A configuration with ``_target_``.
        also: Further arguments.

    Raises:
        NeuroprintError: The object cannot be built.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    try:
        return instantiate(node, _convert_="all", **also)
    except InstantiationException as error:
        if isinstance(error.__cause__, NeuroprintError):
            raise error.__cause__ from None
        problem = re.sub(r"\s+", " ", str(error.__cause__ or error))
        raise NeuroprintError(f"{group}: {node.get('_target_')} cannot be built: {problem}") from error
