"""The event log of a run: trials append events, and the driver reads them.

It also remembers which stages have failed in this run, so that a stage that several trials need is tried once.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from orchestrator.store.stage import Stage

EventKind = Literal["waiting", "started", "finished", "failed", "not run", "note", "engine"]


@dataclass(frozen=True)
class Event:
    """An event of a stage; "not run" and "note" are of a trial, "engine" is the start of an engine. `started`,
    `seconds` and `facts` of a finished stage are those of its record."""

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
    """Runs as a Ray actor, which trials and the driver call by its handle."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._failures: dict[str, str] = {}
        self._notes: set[str] = set()

    def wait(self, stage: Stage, trial: str) -> None:
        """Log that a stage waits for its resources, which the event names."""
        runtime = stage.runtime
        cpus, gpus = runtime.total
        needs = [f"{cpus:g} CPU"] * (cpus > 0) + [f"{gpus:g} GPU"] * (gpus > 0)
        resources = ", ".join(needs + [f"an engine for {runtime.engine}"] * runtime.uses_engine)
        self._events.append(Event("waiting", time.time(), stage.address, stage.kind, trial, resources))

    def start(self, stage: Stage, trial: str) -> None:
        self._events.append(Event("started", time.time(), stage.address, stage.kind, trial))

    def finish(self, stage: Stage, trial: str, record: dict[str, Any]) -> None:
        took = {key: record[key] for key in ("started", "seconds", "facts")}
        self._events.append(Event("finished", time.time(), stage.address, stage.kind, trial, **took))

    def fail(self, stage: Stage, trial: str, message: str) -> None:
        self._failures[stage.address] = message
        self._events.append(Event("failed", time.time(), stage.address, stage.kind, trial, message))

    def skip(self, stage: Stage, trial: str, message: str) -> None:
        """Log that a trial did not run because a stage failed in another trial."""
        self._events.append(Event("not run", time.time(), stage.address, stage.kind, trial, message))

    def note(self, message: str, trial: str) -> None:
        """Log something that several trials may find, once."""
        if message not in self._notes:
            self._notes.add(message)
            self._events.append(Event("note", time.time(), "", "trial", trial, message))

    def engine_started(self, started: float, seconds: float) -> None:
        self._events.append(Event("engine", time.time(), "", "engine", "", started=started, seconds=seconds))

    def failure(self, address: str) -> str | None:
        return self._failures.get(address)

    def events(self, start: int) -> list[Event]:
        """All events from index `start`."""
        return self._events[start:]
