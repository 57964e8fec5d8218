"""Fetch a file of weights once, and keep it."""

from __future__ import annotations

import hashlib
import logging
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import unquote, urlsplit
from urllib.request import urlopen

from filelock import FileLock

from neuroprint.data.files import written_whole
from neuroprint.encoders.checkpoints import check_sha256
from neuroprint.errors import NeuroprintError

log = logging.getLogger(__name__)

_SCHEMES = ("https", "http", "file")
_BLOCK = 1 << 20
_TIMEOUT_S = 60


def download(address: str, folder: Path, sha256: str | None, key: str) -> Path:
    """The file at an address, from ``folder`` where it was fetched before.

    It is put in place in one step once it is whole and has the expected hash; of processes that want it at once, one fetches.

    Args:
        address: ``https://``, ``http://`` or ``file://``.
        folder: Made if need be.
        sha256: What the file's SHA-256 has to be, in hex; None takes any file.
        key: The configuration's key, for messages.

    Raises:
        NeuroprintError: The file cannot be fetched, breaks off, or is not the expected one.
    """
    try:
        parts = urlsplit(address)
    except ValueError as error:
        raise NeuroprintError(f"{key}={address}: no address ({error})") from error
    name = PurePosixPath(unquote(parts.path)).name
    if parts.scheme not in _SCHEMES or not name:
        raise NeuroprintError(f"{key}={address}: give a path, or an address of a file by {', '.join(_SCHEMES)}")
    if parts.scheme == "http" and not sha256:
        log.warning("%s: http can be altered on the way; give https, or the file's sha256", key)
    folder.mkdir(parents=True, exist_ok=True)
    # Files of one name at two addresses are two files.
    target = folder / f"{hashlib.sha256(address.encode()).hexdigest()[:8]}-{name}"
    with FileLock(target.with_name(f".{target.name}.lock")):
        if not target.is_file():
            with written_whole(target) as file:
                found = _fetch(address, file, key)
                if sha256 and found != sha256.lower():
                    raise NeuroprintError(
                        f"{key}={address}: the SHA-256 of what came is {found}, expected {sha256}; nothing was kept"
                    )
        check_sha256(target, sha256)
    return target


def _fetch(address: str, file: BinaryIO, key: str) -> str:
    """Write what is at an address into a file; its SHA-256, in hex."""
    from tqdm import tqdm

    log.info("downloading %s", address)
    content = hashlib.sha256()
    try:
        with urlopen(address, timeout=_TIMEOUT_S) as answer:  # noqa: S310 (schemes are checked)
            size = int(answer.headers.get("Content-Length") or 0)
            with tqdm(total=size or None, desc="downloading", unit="B", unit_scale=True, dynamic_ncols=True) as bar:
                while block := answer.read(_BLOCK):
                    file.write(block)
                    content.update(block)
                    bar.update(len(block))
            if size and bar.n != size:
                raise OSError(f"broke off after {bar.n} of {size} bytes")
    except (OSError, HTTPException, ValueError) as error:
        problem = " ".join(str(error).split())
        raise NeuroprintError(
            f"{key}={address}: cannot be downloaded ({problem}); try again, or fetch it by hand and give {key}=FILE"
        ) from error
    return content.hexdigest()
