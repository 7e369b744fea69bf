"""What an unfinished attempt leaves for the next one: pieces of partial results, or a state from which to resume."""

import time
import uuid
from pathlib import Path

from orchestrator.store.stage import Stage
from orchestrator.store.store import COMPLETE, Store


def append_partial(store: Store, stage: Stage, lines: str) -> None:
    """Store lines of a stage's partial results, for a later attempt if this one is interrupted."""
    store.create(f"{_folder(store, stage)}/{time.time_ns()}-{uuid.uuid4().hex[:8]}", lines.encode())


def read_partial(store: Store, stage: Stage) -> str:
    """All lines that earlier attempts at a stage have stored, in order."""
    try:
        pieces = sorted(store.fs.ls(_folder(store, stage), detail=False, refresh=True))
    except FileNotFoundError:
        return ""
    whole = [store.fs.cat_file(piece) for piece in pieces if not piece.rsplit("/", 1)[-1].startswith(".")]
    return b"".join(whole).decode()


def _folder(store: Store, stage: Stage) -> str:
    return f"{store.root}/{stage.address}/partial"


def save_state(store: Store, stage: Stage, folder: Path) -> None:
    """Store a folder from which a later attempt can resume, in place of earlier ones."""
    earlier = _states(store, stage)
    store.put_folder(folder, f"{store.root}/{stage.address}/state-{time.time_ns():020}-{uuid.uuid4().hex[:8]}")
    for old in earlier:
        store.fs.rm(old, recursive=True)


def load_state(store: Store, stage: Stage, into: Path) -> Path | None:
    """A local folder with the last state of a stage, or None; a remote store's is copied to `into`."""
    states = _states(store, stage)
    return store.get_folder(states[-1], into) if states else None


def _states(store: Store, stage: Stage) -> list[str]:
    """The complete states of a stage, oldest first."""
    try:
        entries = store.fs.ls(f"{store.root}/{stage.address}", detail=False, refresh=True)
    except FileNotFoundError:
        return []
    states = sorted(entry for entry in entries if entry.rsplit("/", 1)[-1].startswith("state-"))
    return [state for state in states if store.fs.exists(f"{state}/{COMPLETE}")]
