"""An MLflow server: whether it is there, may be used, and speaks this client's language, in one line and before long work."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from urllib.parse import urlsplit

from neuroprint.catalog.redaction import redact_text
from neuroprint.errors import NeuroprintError

_TIMEOUT_S = 10
_DEFAULT_ROOT = Path("mlruns")
_REMOTE = ("http", "https")
_DATABASE = re.compile(r"sqlite:///(?P<folder>.*?)/?mlflow\.db", re.DOTALL)


def server_or_folder(uri: str | None, root: Path) -> tuple[str | None, Path]:
    """The server that ``tracking.uri`` names, if any, and the folder of what is kept beside it.

    ``sqlite:///DIR/mlflow.db`` is the file of a folder: what ``tracking.root=DIR`` names, which comes first if it is given.

    Args:
        uri: As MLflow takes it: an address, ``databricks``, or None.
        root: ``tracking.root``, ``mlruns`` where it was not given.

    Raises:
        NeuroprintError: It is a kind of store that runs cannot be kept in.

    Example:
        >>> server_or_folder("http://mlflow.lab:5000", Path("mlruns"))
        ('http://mlflow.lab:5000', PosixPath('mlruns'))
        >>> server_or_folder("sqlite:///runs/mlflow.db", Path("mlruns"))
        (None, PosixPath('runs'))
    """
    if not uri:
        return None, root
    if found := _DATABASE.fullmatch(uri):
        return None, Path(found["folder"] or ".") if root == _DEFAULT_ROOT else root
    if urlsplit(uri).scheme in _REMOTE or uri.partition(":")[0] == "databricks":
        return uri.rstrip("/"), root
    raise NeuroprintError(
        f"tracking.uri={shown(uri)}: runs are kept on a server (http://, https://, databricks) or in a folder's mlflow.db: "
        "give an address, or tracking.uri=null tracking.root=DIR; by default it is what MLFLOW_TRACKING_URI says"
    )


def check_server(uri: str) -> None:
    """Refuse a server that does not answer, will not be asked, or is of another major version than MLflow here.

    Raises:
        NeuroprintError: Says which, and what to do.
    """
    import mlflow
    from mlflow.exceptions import MlflowException
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    if urlsplit(uri).scheme not in _REMOTE:
        return
    try:
        answer = http_request(
            get_default_host_creds(uri), "/version", "GET", max_retries=0, timeout=_TIMEOUT_S, raise_on_status=False
        )
    except (MlflowException, OSError) as error:
        raise NeuroprintError(
            f"the MLflow server {shown(uri)} does not answer ({_cause(error)}): start it, or keep runs in a file, "
            "tracking.uri=null"
        ) from error
    if answer.status_code in (401, 403):
        raise NeuroprintError(refused(uri, answer.status_code))
    found = answer.text.strip().strip('"')
    if answer.status_code == 200 and re.match(r"\d+\.", found) and _major(found) != _major(mlflow.__version__):
        raise NeuroprintError(
            f"the MLflow server {shown(uri)} is of version {found}, and MLflow here of {mlflow.__version__}: install the "
            f"server's, pip install 'mlflow=={found}'"
        )


def refused(uri: str, status: int) -> str:
    """What to do where a server wants to know who asks."""
    return (
        f"the MLflow server {shown(uri)} refuses to be asked (HTTP {status}): set MLFLOW_TRACKING_USERNAME and "
        "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
    )


def said_by_mlflow(error: BaseException) -> str | None:
    """What went wrong in MLflow, as one line; None for any other error."""
    mlflow = sys.modules.get("mlflow.exceptions")  # an error of its own means that it is loaded
    if mlflow is None or not isinstance(error, mlflow.MlflowException):
        return None
    return f"MLflow: {_cause(error)}; what was computed is kept, and the same command goes on from there"


def shown(uri: str) -> str:
    """An address without the name and password that it may hold."""
    return re.sub(r"//[^/@]*@", "//", uri)


def _cause(error: BaseException) -> str:
    """The innermost reason, without the request that MLflow quotes."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(str(error).split())
    reason = re.search(r"Caused by \w+\((.*)\)\)?$", text)
    return redact_text(reason[1] if reason else text)[:300]


def _major(version: str) -> str:
    return version.partition(".")[0]
