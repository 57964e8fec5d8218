"""A small web page and JSON API around a bundle, for people who sit at this machine."""

from __future__ import annotations

import ipaddress
import json
import logging
import socket
import tempfile
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from neuroprint.bundle.answer import to_json
from neuroprint.bundle.query import answer_to, group_columns, groups_of
from neuroprint.bundle.report import report
from neuroprint.bundle.upload import Limits, UploadError, check_sizes, save_files, save_zip
from neuroprint.catalog.redaction import redact_text
from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    from neuroprint.bundle.answer import Answer
    from neuroprint.bundle.bundle import Bundle

log = logging.getLogger(__name__)

ZIP: Final = "application/zip"
FOLDER: Final = "application/x-neuroprint-folder"
"""The files of a folder one behind the other; the header ``Neuroprint-Files`` has a JSON list of [name, size]."""

MOST_NEIGHBORS: Final = 50
_AT_ONCE: Final = 8  # uploads that are taken side by side; one at a time is extracted
_LINGER_S: Final = 2.0
_MOST_OPTIONS: Final = 10
_PAGES: Final = {
    "/": ("serve.html", "text/html; charset=utf-8"),
    "/serve.js": ("serve.js", "text/javascript; charset=utf-8"),
    "/serve.css": ("serve.css", "text/css; charset=utf-8"),
}
_HEADERS: Final = {
    # The report is shown in a frame that inherits this: it has styles and pictures of its own, and no script.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src data:; "
    "connect-src 'self'; frame-ancestors 'none'; form-action 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Service(ThreadingHTTPServer):
    """Answers queries to one bundle.

    ``GET /`` is the page; ``GET /api/bundle`` says what the bundle is; ``POST /api/query`` answers in JSON and
    ``POST /report`` as a page, both with ``?k=5&group=COLUMN`` and a zip or a folder as the body. What is uploaded is
    removed before the answer is given. No path of a request is ever looked up on disk.

    Args:
        bundle: The bundle.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        limits: What an upload may be.

    Raises:
        NeuroprintError: The address cannot be listened on.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, bundle: Bundle, host: str = "127.0.0.1", port: int = 0, limits: Limits | None = None) -> None:
        self.bundle = bundle
        self.limits = limits or Limits()
        self.host = host
        self.uploads = threading.BoundedSemaphore(_AT_ONCE)
        self.extraction = threading.Lock()
        # Opened now: by the first answer, neuroprint add may have put another bundle in its place.
        bundle.pictures(str(bundle.cases["case"].iloc[0]))
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            raise NeuroprintError(
                f"cannot listen on {host} port {port} ({error}): choose another --port or --host"
            ) from error

    @property
    def address(self) -> str:
        """Where the page is."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.server_address[1]}/"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the page."""
        return ipaddress.ip_address(str(self.server_address[0])).is_loopback

    def is_own_name(self, host: str) -> bool:
        """Whether a request was meant for this server by its Host header.

        A page elsewhere can have its own name resolve to this machine and would then count as of one origin with the server
        (DNS rebinding); it cannot do so under a name that is none: an address, localhost, or what --host says.
        """
        try:
            name, port = urlsplit(f"//{host}").hostname or "", urlsplit(f"//{host}").port
        except ValueError:
            return False
        if (port or 80) != self.server_address[1]:
            return False
        with suppress(ValueError):
            return bool(ipaddress.ip_address(name))
        return name in ("localhost", self.host.lower())

    def answer(self, folder: Path, k: int, group: str | None) -> Answer:
        """Put an uploaded case to the bundle, one at a time."""
        case = self.bundle.read_case(folder)
        check_sizes(case, self.limits)
        with self.extraction:
            query = self.bundle.embed(case)
            return answer_to(self.bundle, case, query, k, group)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error."""
        log.debug("a request broke off", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: Service
    server_version = "neuroprint"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self) -> None:
        if not self._is_welcome():
            return
        try:
            path = self._address().path
        except UploadError as error:
            self._refuse(error.status, str(error))
            return
        if path in _PAGES:
            name, kind = _PAGES[path]
            self._send(200, kind, (files("neuroprint.bundle") / "assets" / name).read_bytes())
        elif path == "/api/bundle":
            self._send_json(200, self._about())
        else:
            self._send_json(404, {"error": "there is no such page: see /"})

    def handle_expect_100(self) -> bool:
        """A client that asks before it sends is told at once if it need not."""
        try:
            self._size()
        except UploadError as error:
            self._refuse(error.status, str(error))
            return False
        return super().handle_expect_100()

    def do_POST(self) -> None:
        self.close_connection = True  # what is left unread of a refused upload is no next request
        if not self._is_welcome():
            return
        try:
            self._take_query()
        except UploadError as error:
            self._refuse(error.status, str(error))
        except NeuroprintError as error:
            self._refuse(422, str(error))
        except TimeoutError:
            self._refuse(408, "the upload took too long")
        except ConnectionError:
            log.debug("the client went away")
        except Exception:
            log.exception("a query failed")
            self._refuse(500, "the query failed on the server; its log says why")

    def _take_query(self) -> None:
        url = self._address()
        if url.path not in ("/api/query", "/report"):
            raise UploadError(404, "there is no such page: send queries to /api/query or /report")
        k, group = self._options(url.query)
        size = self._size()
        if not self.server.uploads.acquire(blocking=False):
            raise UploadError(503, "too many queries wait already: try again in a minute")
        try:
            with tempfile.TemporaryDirectory(prefix="neuroprint-query-") as folder:
                found = self.server.answer(self._save(Path(folder), size), k, group)
        finally:
            self.server.uploads.release()
        if url.path == "/report":
            self._send(200, "text/html; charset=utf-8", report(found, self.server.bundle).encode())
        else:
            self._send_json(200, to_json(found))

    def _address(self) -> SplitResult:
        try:
            return urlsplit(self.path)
        except ValueError as error:
            raise UploadError(400, f"the address cannot be read ({error})") from error

    def _options(self, query: str) -> tuple[int, str | None]:
        try:
            options = parse_qs(query, max_num_fields=_MOST_OPTIONS)
        except ValueError as error:
            raise UploadError(
                400, f"the address has more than {_MOST_OPTIONS} options, expected k and group"
            ) from error
        k = options.get("k", ["5"])[0]
        if not (k.isascii() and k.isdigit() and len(k) < 9 and 1 <= int(k) <= MOST_NEIGHBORS):
            raise UploadError(400, f"k must be a number from 1 to {MOST_NEIGHBORS}")
        group = options.get("group", [""])[0] or None
        if group is not None:
            groups_of(self.server.bundle, group)
        return int(k), group

    def _size(self) -> int:
        given = self.headers.get_all("Content-Length") or []
        if "Transfer-Encoding" in self.headers or len(given) != 1 or not given[0].isdigit() or not given[0].isascii():
            raise UploadError(411, "say by one Content-Length how large the upload is")
        size, most = int(given[0][:18]), self.server.limits.upload_bytes
        if size > most:
            raise UploadError(413, f"the upload has {size >> 20} MiB, expected at most {most >> 20} MiB")
        return size

    def _save(self, folder: Path, size: int) -> Path:
        kind = self.headers.get_content_type()
        if kind == ZIP:
            return save_zip(self.rfile, size, folder, self.server.limits)
        if kind != FOLDER:
            raise UploadError(415, f"send a zip ({ZIP}) or a folder ({FOLDER})")
        try:
            names = [(str(name), int(length)) for name, length in json.loads(unquote(self.headers["Neuroprint-Files"]))]
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:  # Infinity; [[[[...
            raise UploadError(400, "the header Neuroprint-Files must be a JSON list of [name, size]") from error
        if any(length < 0 for _, length in names) or sum(length for _, length in names) != size:
            raise UploadError(400, "the sizes in Neuroprint-Files do not add up to the Content-Length")
        return save_files(self.rfile, names, folder, self.server.limits)

    def _is_welcome(self) -> bool:
        """Whether a request comes from this server's own page, or from a program that is no browser's page."""
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        if not self.server.is_own_name(host):
            self._refuse(421, f"this server is not called that: open {self.server.address}")
        elif origin is not None and origin != f"http://{host}":
            self._refuse(403, "requests from other sites are refused")
        else:
            return True
        return False

    def _about(self) -> dict[str, Any]:
        bundle, limits = self.server.bundle, self.server.limits
        return {
            "name": bundle.name,
            "cases": len(bundle.cases),
            "modalities": list(bundle.modalities),
            "groups": list(group_columns(bundle)),
            "upload_bytes": limits.upload_bytes,
            "files": limits.files,
        }

    def _refuse(self, status: int, message: str) -> None:
        with suppress(ConnectionError, TimeoutError):
            self.close_connection = True
            self._send_json(status, {"error": " ".join(redact_text(message).split())})
            self._linger()

    def _linger(self) -> None:
        """Let the client read the refusal: closed on unread bytes, the connection would be reset under it."""
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_WR)
        self.connection.settimeout(_LINGER_S)
        ends = time.monotonic() + _LINGER_S
        with suppress(OSError):
            while time.monotonic() < ends and self.rfile.read1(1 << 16):
                pass

    def _send_json(self, status: int, content: dict[str, Any]) -> None:
        self._send(status, "application/json; charset=utf-8", json.dumps(content, indent=2).encode() + b"\n")

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        for name, value in {**_HEADERS, "Content-Type": kind, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Names of files and cases stay out of the log."""
