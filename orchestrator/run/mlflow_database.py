"""The MLflow database: an SQLite file that several runs may create at the same time, or a tracking server.

MLflow creates an SQLite file in many steps, and two processes that do so at the same time spoil it, as does one that is
killed. So the file is created under another name and then linked to its own: it is there whole or not at all.
"""

import contextlib
import os
import re
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from evaluators.imports import IMPORTS

if TYPE_CHECKING:
    from mlflow import MlflowClient

# What SQLite says of a file that MLflow has created by halves, and of one that is no database.
DAMAGED = re.compile(r"_alembic_tmp_|already exists|duplicate column|not a database|malformed")
DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    # A request whose answer was lost may create a second run if it is repeated: the tracker first looks what is there.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}


def connect(uri: str) -> "MlflowClient":
    """A client of a tracking server or database. Raises ValueError for an SQLite file that is damaged."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    with IMPORTS:
        from mlflow import MlflowClient
        from sqlalchemy.exc import DatabaseError

    path = sqlite_path(uri)
    if path is not None and not path.exists():
        _create(path)
    try:
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
    except DatabaseError as error:
        if path is None or not DAMAGED.search(str(error)):
            raise
        raise ValueError(
            f"the MLflow file {path} is damaged ({str(error).splitlines()[0]}); move it away, and the same command "
            f"logs all trials into a new one"
        ) from error
    return client


def sqlite_path(uri: str) -> Path | None:
    """The path of an SQLite file; None for other URIs."""
    path = uri.removeprefix("sqlite:///").partition("?")[0]
    return Path(path) if uri.startswith("sqlite:///") and path and not path.startswith((":memory:", "file:")) else None


def _create(path: Path) -> None:
    with IMPORTS:
        from mlflow import db

    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    try:
        db.upgrade.callback(f"sqlite:///{new}")
        with contextlib.suppress(FileExistsError):  # Another process was first.
            os.link(new, path)
    finally:
        new.unlink(missing_ok=True)
