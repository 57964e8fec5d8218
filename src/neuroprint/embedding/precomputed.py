"""``encoder=precomputed``: embeddings that were made elsewhere, from a Parquet file."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuroprint.data.digests import file_sha256
from neuroprint.embedding.embeddings import read_vectors
from neuroprint.encoders.base import Forward, InputSpec, Level
from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class PrecomputedEncoder:
    """Vectors by case id in place of a network. No pooling is applied, and no bundle can be made of them.

    Args:
        path: A Parquet file with the columns ``case`` and ``embedding``, a list of numbers.
        similarity: What the vectors are made for: ``cosine``, ``dot`` or ``euclidean``.

    Raises:
        NeuroprintError: There is no such file.
    """

    trained = True
    default_level = "precomputed"
    input = InputSpec(())
    levels = (Level("precomputed", channels=None, stride=1),)

    def __init__(self, path: str, similarity: str = "cosine") -> None:
        self.path = Path(path).expanduser()
        self.similarity = similarity
        if not self.path.is_file():
            raise NeuroprintError(f"encoder.path={path}: there is no such file; give a Parquet file")

    @cached_property
    def identity(self) -> dict[str, Any]:
        return {"network": "precomputed", "sha256": file_sha256(self.path)}

    def vectors(self) -> dict[str, npt.NDArray[np.float32]]:
        """The vectors by case id."""
        return read_vectors(self.path)

    def load(self, device: str) -> Forward:
        raise NeuroprintError("encoder=precomputed has no network: it cannot embed a new scan")
