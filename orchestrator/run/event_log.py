"""The event log of a run: trials append events, and the driver reads them.

It also remembers which stages have failed in this run, so that a stage that several trials need is tried once.
"""

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from orchestrator.store.stage import Stage

ADVANCE_SECONDS = 5.0  # between two messages about a running stage
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


@dataclass(frozen=True, kw_only=True)
class News:
    """New events, the share of each running stage that is done, as far as it is known, and what the run has spent on
    APIs so far in US dollars."""

    events: list[Event] = field(default_factory=list)
    shares: Mapping[str, float] = field(default_factory=dict)
    dollars: float = 0.0


class EventLog:
    """Runs as a Ray actor, which trials and the driver call by its handle."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._failures: dict[str, str] = {}
        self._shares: dict[str, float] = {}
        self._spent: dict[str, float] = defaultdict(float)
        self._notes: set[str] = set()
        self._calls: set[str] = set()

    def wait(self, stage: Stage, trial: str) -> None:
        """Log that a stage waits for its resources, which the event names."""
        runtime = stage.runtime
        cpus, gpus = runtime.total
        needs = [f"{cpus:g} CPU"] * (cpus > 0) + [f"{gpus:g} GPU"] * (gpus > 0)
        resources = ", ".join(needs + [f"an engine for {runtime.engine}"] * runtime.uses_engine)
        self._events.append(Event("waiting", time.time(), stage.address, stage.kind, trial, resources))

    def start(self, stage: Stage, trial: str) -> None:
        self._events.append(Event("started", time.time(), stage.address, stage.kind, trial))

    def advance(self, address: str, share: float) -> None:
        """Note what share of a running stage is done."""
        self._shares[address] = share

    def finish(self, stage: Stage, trial: str, record: dict[str, Any]) -> None:
        self._shares.pop(stage.address, None)
        took = {key: record[key] for key in ("started", "seconds", "facts")}
        self._events.append(Event("finished", time.time(), stage.address, stage.kind, trial, **took))

    def fail(self, stage: Stage, trial: str, message: str) -> None:
        self._failures[stage.address] = message
        self._shares.pop(stage.address, None)
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

    def spend(self, model: str, dollars: float) -> None:
        """Note what a call of a model behind an API has cost."""
        self._spent[model] += dollars

    def spent(self, model: str) -> float:
        return self._spent[model]

    def begin_calls(self, ids: list[str]) -> None:
        """Note that an engine has begun with these calls."""
        self._calls.update(ids)

    def end_call(self, id: str) -> bool:
        """Forget a call; returns whether an engine had begun with it."""
        begun = id in self._calls
        self._calls.discard(id)
        return begun

    def failure(self, address: str) -> str | None:
        return self._failures.get(address)

    def news(self, start: int) -> News:
        """What there is, with the events from index `start`."""
        return News(events=self._events[start:], shares=self._shares, dollars=sum(self._spent.values()))


class Advance:
    """Tells the event log what share of a stage is done, at most once in a few seconds."""

    def __init__(self, event_log: Any, address: str):
        self._event_log, self._address, self._sent = event_log, address, 0.0

    def __call__(self, done: int, of: int) -> None:
        if time.monotonic() - self._sent >= ADVANCE_SECONDS:
            self._sent = time.monotonic()
            self._event_log.advance.remote(self._address, done / of)
