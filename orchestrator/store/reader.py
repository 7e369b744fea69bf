"""Reading what finished stages left."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.store.stage import Stage
from orchestrator.store.store import Store

Content = TypeVar("Content")


class StageReader:
    """Reads the files of finished stages, each of them once."""

    def __init__(self, store: Store, records: dict[Stage, dict[str, Any]]):
        self._store, self.records = store, records
        self._read: dict[tuple[Stage, Callable], Any] = {}

    def facts(self, stage: Stage) -> dict[str, Any]:
        """The facts in a stage's record."""
        return self.records[stage]["facts"]

    def read(self, stage: Stage, read: Callable[[Path], Content]) -> Content:
        """What `read` makes of a stage's folder."""
        if (stage, read) not in self._read:
            self._read[stage, read] = read(self._store.folder(stage.address, self.records[stage]))
        return self._read[stage, read]
