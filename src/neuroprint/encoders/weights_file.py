"""A file of weights as a configuration names it: one that comes with the package, one on this machine, or one to download."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from neuroprint.data.digests import file_sha256
from neuroprint.encoders.checkpoints import PACKAGED, PRETRAINED, check_sha256, load_weights, remedy
from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class WeightsFile:
    """Weights that are looked for at once, downloaded and read only when they are needed.

    Attributes:
        source: A path, the name of a file of the package's, or an address (``https://``, ``http://``, ``file://``).
            Safetensors, or a checkpoint of PyTorch's, zipped or not.
        expected_sha256: What the file's SHA-256 has to be; None takes the file as it is.
        cache: Folder for what is downloaded.
        key: The configuration's key, for messages.
        where_to_get: For messages: what to do if there is no such file.
    """

    source: str
    expected_sha256: str | None = None
    cache: str = ".neuroprint/weights"
    key: str = "encoder.weights"
    where_to_get: str = ""

    def __post_init__(self) -> None:
        if not self._is_address and not self._place.is_file():
            what = self.where_to_get or remedy(self._place)
            raise NeuroprintError(f"{self.key}={self.source}: there is no such file; {what}")

    @property
    def is_safetensors(self) -> bool:
        """Told by the name, before anything is downloaded."""
        return self.source.partition("?")[0].endswith(".safetensors")

    @property
    def _is_address(self) -> bool:
        return "://" in self.source

    @cached_property
    def _place(self) -> Path:
        given = Path(self.source).expanduser()
        packaged = PRETRAINED / given
        if len(given.parts) > 1 or not (packaged.is_file() or given.name in PACKAGED):
            return given
        if not given.is_file():
            return packaged
        # A file in the working folder comes first, unless it is known to be another than the one that is meant.
        meant = not self.expected_sha256 or file_sha256(given) == self.expected_sha256.lower()
        return given if meant else packaged

    @cached_property
    def path(self) -> Path:
        """The file on this machine; downloaded if need be."""
        if not self._is_address:
            return self._place
        from neuroprint.encoders.download import download

        return download(self.source, Path(self.cache), self.expected_sha256, self.key)

    @cached_property
    def sha256(self) -> str:
        """Of the file: as expected, known without looking, or as found."""
        return self.expected_sha256.lower() if self.expected_sha256 else file_sha256(self.path)

    def load(self) -> dict[str, Tensor]:
        """The weights by name, floating numbers as float32.

        Raises:
            NeuroprintError: The file is torn, not the expected one, or could run code.
        """
        if self.path.suffix == ".safetensors":
            return load_weights(self.path, self.expected_sha256)
        from neuroprint.encoders.torch_checkpoint import load_checkpoint

        check_sha256(self.path, self.expected_sha256)
        return load_checkpoint(self.path)
