"""Which MLflow is meant, and what is said of a server that cannot be used."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from neuroprint.catalog.redaction import redact
from neuroprint.errors import NeuroprintError
from neuroprint.tracking.server import check_server, said_by_mlflow, server_or_folder, shown
from neuroprint.tracking.store import TrackingStore
from neuroprint.tracking.ui import free_port

ROOT = Path("mlruns")


@pytest.fixture
def answering() -> Iterator[Callable[..., str]]:
    """Makes a server that gives one answer to every request; its address."""
    servers = []

    def make(status: int, text: str, of: Callable[[str], bool] = lambda path: True) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status if of(self.path) else 200)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *arguments: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield make
    for server in servers:
        server.shutdown()
        server.server_close()


def mlflow_version() -> str:
    import mlflow

    return str(mlflow.__version__)


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        (None, (None, ROOT)),
        ("", (None, ROOT)),
        ("http://lab:5000/", ("http://lab:5000", ROOT)),
        ("https://user:word@lab/mlflow", ("https://user:word@lab/mlflow", ROOT)),
        ("databricks", ("databricks", ROOT)),
        ("databricks://profile", ("databricks://profile", ROOT)),
        ("sqlite:///mlflow.db", (None, Path())),
        ("sqlite:///there/mlflow.db", (None, Path("there"))),
        ("sqlite:////data/there/mlflow.db", (None, Path("/data/there"))),
    ],
)
def test_an_address_is_a_server_and_a_database_file_its_folder(uri, found):
    assert server_or_folder(uri, ROOT) == found


def test_a_folder_that_is_given_comes_before_a_database_file_and_not_before_a_server():
    given = Path("given")
    assert server_or_folder("sqlite:///runs/mlflow.db", given) == (None, given)
    assert server_or_folder("http://lab:5000", given) == ("http://lab:5000", given)


@pytest.mark.parametrize(
    "uri", ["file:///data/mlruns", "mlruns", "postgresql://user:word@lab/db", "sqlite:///other.db"]
)
def test_other_stores_are_refused_without_telling_a_password(uri):
    with pytest.raises(NeuroprintError, match=r"tracking\.uri=.*MLFLOW_TRACKING_URI") as caught:
        server_or_folder(uri, ROOT)
    assert "word" not in str(caught.value)


def test_a_server_that_does_not_answer_is_said_at_once():
    started = time.monotonic()
    with pytest.raises(NeuroprintError, match=r"does not answer \(.*refused.*\).*tracking\.uri=null"):
        check_server(f"http://127.0.0.1:{free_port(6100)}")
    assert time.monotonic() - started < 8  # MLflow's client alone would try for minutes


@pytest.mark.parametrize("status", [401, 403])
def test_a_server_that_wants_a_name_says_so(answering, status, tmp_path):
    with pytest.raises(NeuroprintError, match=rf"HTTP {status}.*MLFLOW_TRACKING_USERNAME"):
        check_server(answering(status, "who are you?"))
    # MLflow's own servers tell everybody their version, and ask only then.
    address = answering(status, mlflow_version(), of=lambda path: "version" not in path)
    with pytest.raises(NeuroprintError, match=rf"HTTP {status}.*MLFLOW_TRACKING_TOKEN"):
        _ = TrackingStore(tmp_path, "neuroprint", address, tmp_path / "locks").client


def test_a_server_of_another_major_version_is_refused(answering):
    with pytest.raises(NeuroprintError, match=r"version 2\.9\.2.*pip install 'mlflow==2\.9\.2'"):
        check_server(answering(200, "2.9.2"))
    check_server(answering(200, mlflow_version()))
    check_server(answering(404, "no such page"))  # what stands before a server need not pass this on


def test_no_message_and_no_configuration_holds_a_password():
    assert shown("https://user:word@lab/mlflow") == "https://lab/mlflow"
    assert redact("https://user:word@lab") == "lab"


def test_an_error_of_mlflows_is_one_line_and_others_are_none():
    from mlflow.exceptions import MlflowException

    said = said_by_mlflow(MlflowException("API request failed\nwith error code 500"))
    assert said == (
        "MLflow: API request failed with error code 500; what was computed is kept, and the same command goes on from there"
    )
    assert said_by_mlflow(ValueError("of ours")) is None


def test_servers_that_share_a_folder_for_locks_have_their_own(tmp_path):
    one, same, other = (
        TrackingStore(tmp_path / name, "neuroprint", f"http://lab:{port}", tmp_path / "locks")
        for name, port in (("a", 1), ("b", 1), ("c", 2))
    )
    assert one.lock("x").lock_file == same.lock("x").lock_file != other.lock("x").lock_file
