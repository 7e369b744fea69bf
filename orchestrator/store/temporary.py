"""Temporary folders beside a stage's results, such as weights with which engines generate during a training."""

import uuid
from pathlib import Path

from orchestrator.store.stage import Stage
from orchestrator.store.store import Store


def temporary_path(stage: Stage) -> str:
    """A new path in the store; a folder there is removed when the stage is finished."""
    return f"{stage.address}/temporary-{uuid.uuid4().hex[:12]}"


def publish_temporary(store: Store, folder: Path, path: str) -> str:
    """Copy a local folder to a path that every machine can read, until it is removed; returns the path."""
    store.put_folder(folder, path)
    return path


def fetch_temporary(store: Store, path: str, into: Path) -> Path:
    """A local folder with the files of a temporary folder; a remote store's are copied to `into`."""
    return store.get_folder(path, into)


def delete_temporary(store: Store, path: str) -> None:
    store.remove_folder(path)
