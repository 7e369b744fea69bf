"""The board of a run: what every trial writes its events on, and the driver reads them from.

It also knows which stages failed in this run, so that a stage that several trials need fails once, not once for each.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from orchestrator.store.stage import Stage

EventKind = Literal["started", "finished", "failed", "not run"]


@dataclass(frozen=True)
class Event:
    """Something that happened to a stage (or, as "not run", to a trial). What a finished stage took, and its facts, are
    those of its record."""

    what: EventKind
    time: float
    address: str
    kind: str
    trial: str
    message: str = ""
    started: float = 0.0
    seconds: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=dict)


class EventLog:
    """Lives in an actor of its own; trials and the driver call it through the actor's handle."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._failures: dict[str, str] = {}

    def start(self, stage: Stage, trial: str) -> str | None:
        """Note that a stage starts; or say why it must not, where it has failed in this run already."""
        failure = self._failures.get(stage.address)
        if failure is None:
            self._events.append(Event("started", time.time(), stage.address, stage.kind, trial))
        return failure

    def finish(self, stage: Stage, trial: str, record: dict[str, Any]) -> None:
        took = {key: record[key] for key in ("started", "seconds", "facts")}
        self._events.append(Event("finished", time.time(), stage.address, stage.kind, trial, **took))

    def fail(self, stage: Stage, trial: str, message: str) -> None:
        self._failures[stage.address] = message
        self._events.append(Event("failed", time.time(), stage.address, stage.kind, trial, message))

    def skip(self, stage: Stage, trial: str, message: str) -> None:
        """Note that a trial did not run because of a stage that failed in another."""
        self._events.append(Event("not run", time.time(), stage.address, stage.kind, trial, message))

    def failure(self, address: str) -> str | None:
        return self._failures.get(address)

    def events(self, start: int) -> list[Event]:
        """The events from number `start` on."""
        return self._events[start:]
