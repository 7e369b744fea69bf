"""What an unfinished attempt leaves for the next one: pieces of partial results, or a state from which to resume."""

import logging
import time
import uuid
from pathlib import Path

from orchestrator.store.files import DAMAGED
from orchestrator.store.stage import Stage
from orchestrator.store.store import Store

log = logging.getLogger(__name__)


def append_partial(store: Store, stage: Stage, lines: str) -> None:
    """Store a piece of a stage's partial results: whole lines."""
    assert lines.endswith("\n")
    store.create(f"{stage.address}/partial/{time.time_ns()}-{uuid.uuid4().hex[:8]}", lines.encode())


def read_partial(store: Store, stage: Stage) -> str:
    """The lines that earlier attempts at a stage have stored. A piece that a power cut has torn is left out."""
    pieces = []
    names = (name for name in store.names(f"{stage.address}/partial") if not name.endswith(DAMAGED))
    for name in names:
        path = f"{stage.address}/partial/{name}"
        data = store.read(path)
        if data and data.endswith(b"\n") and b"\0" not in data:
            pieces.append(data)
        elif data is not None:
            store.set_aside(path, f"is torn ({len(data)} bytes without an end)")
    return b"".join(pieces).decode()


def save_state(store: Store, stage: Stage, folder: Path, lease: int) -> None:
    """Store a folder from which a later attempt can resume, in place of earlier ones.

    `lease` is the number of the lease under which the stage runs. The states of a later lease are not touched, and
    count before those of this one: an owner that was taken over cannot set its successor back.
    """
    states = _states(store, stage)
    number = 1 + max((own for of, own, _ in states if of == lease), default=0)
    store.put_folder(folder, f"{stage.address}/state-{lease}-{number}", durable=True)
    for of, own, path in states:
        if (of, own) < (lease, number):
            store.remove_folder(path)


def load_state(store: Store, stage: Stage, into: Path) -> Path | None:
    """A local folder with the last complete state of a stage, or None; a remote store's is copied to `into`."""
    for _, _, path in reversed(_states(store, stage)):
        if store.is_complete(path):
            return store.get_folder(path, into)
        log.warning("%s/%s is incomplete, so an earlier state is used", store.uri, path)
    return None


def progress(store: Store, stage: Stage) -> list[str]:
    """The states and pieces that a stage's attempts have left; more of them after an attempt that got on."""
    states = [path for _, _, path in _states(store, stage)]
    return states + store.names(f"{stage.address}/partial")


def _states(store: Store, stage: Stage) -> list[tuple[int, int, str]]:
    """(lease, number, path) of the states of a stage, the last one last."""
    found = []
    for name in store.names(stage.address):
        if name.startswith("state-"):
            lease, number = name.split("-")[1:]
            found.append((int(lease), int(number), f"{stage.address}/{name}"))
    return sorted(found)
