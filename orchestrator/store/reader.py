"""Reading what finished stages left, and why others failed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.store.stage import Stage
from orchestrator.store.store import Store

Content = TypeVar("Content")


class StageReader:
    """Reads the files of finished stages, and why others failed, each of them once."""

    def __init__(self, store: Store, records: dict[Stage, dict[str, Any]]):
        self._store, self.records = store, records
        self._read: dict[tuple[Stage, Callable], Any] = {}
        self._failures: dict[Stage, str | None] = {}

    def facts(self, stage: Stage) -> dict[str, Any]:
        """The facts in a stage's record."""
        return self.records[stage]["facts"]

    def failure(self, stage: Stage) -> str | None:
        """Why the last attempt of an unfinished stage failed; None where none has."""
        if stage not in self._failures:
            self._failures[stage] = self._store.failure(stage.address)
        return self._failures[stage]

    def read(self, stage: Stage, read: Callable[[Path], Content]) -> Content:
        """What `read` makes of a stage's folder."""
        if (stage, read) not in self._read:
            self._read[stage, read] = read(self._store.folder(stage.address, self.records[stage]))
        return self._read[stage, read]
