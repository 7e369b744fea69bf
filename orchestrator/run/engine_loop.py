"""The thread of a replica that owns a vLLM engine, and runs the calls of all stages in it at once.

Calls on the loaded base weights begin as they arrive, whatever their adapters. Calls on other base weights wait until
the engine is idle; then it loads the base of the most waiting requests. A call that runs alone waits for an idle
engine, too, and is last. If a call has waited for `PATIENCE` seconds, no other call begins before it can.
"""

import queue
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evaluators.engines.vllm_engine import Batch, Engine, EngineFailed
from orchestrator.run.streams import CHUNK_SECONDS, Settings, Stream

PATIENCE = 60.0


@dataclass(eq=False, kw_only=True)
class Call:
    """One call of `generate` or `score`: `base` and `adapter` are local folders. A lower `priority` goes first. With
    `alone` the engine runs nothing else meanwhile."""

    id: str
    base: str
    adapter: Path | None
    method: str
    requests: list
    arguments: tuple
    must_differ: bool
    priority: int
    alone: bool
    stream: Stream
    since: float
    chunk: list[tuple[int, Any]] = field(default_factory=list)
    sent: float = 0.0  # when its last chunk was sent


class EngineLoop:
    """`start` starts an engine with a checkpoint. `on_begin` is told the ids of calls before anything is done for them.
    `run` is the thread's function; it ends with EngineFailed only."""

    def __init__(
        self,
        start: Callable[[str], Engine],
        on_begin: Callable[[list[str]], object],
        clock: Callable[[], float] = time.monotonic,
    ):
        self._start, self._on_begin, self._clock = start, on_begin, clock
        self._started: Engine | None = None
        self._inbox = queue.SimpleQueue[Call]()
        self._waiting: list[Call] = []
        self._running: dict[Batch, Call] = {}
        self.busy_since: float | None = None  # the beginning of the present step, or load of weights

    @property
    def _engine(self) -> Engine:
        assert self._started is not None, "an engine starts with the first call, and nothing runs before"
        return self._started

    @property
    def _busy(self) -> bool:
        """Whether the engine has requests. A call that was dropped may leave those that check its adapter."""
        return self._started is not None and not self._engine.idle

    def submit(self, call: Call) -> None:
        """Add a call, from any thread."""
        self._inbox.put(call)

    def run(self) -> None:
        try:
            while True:
                self.turn()
        except EngineFailed:
            for call in self._running.values():
                call.stream.put(call.chunk)  # Results from before the failure are kept.
            raise

    def turn(self) -> None:
        """Receive calls, begin those that can, and take one step. Waits for a call if there is none."""
        self._receive()
        self._drop_closed()
        self.busy_since = self._clock()
        self._begin()
        if self._busy:
            self._step()
        self.busy_since = None

    def _drop_closed(self) -> None:
        self._waiting = [call for call in self._waiting if not call.stream.closed]
        for batch, call in list(self._running.items()):
            if call.stream.closed:
                self._engine.abort(batch)
                del self._running[batch]

    def _receive(self) -> None:
        wait = not self._waiting and not self._busy
        while True:
            try:
                self._waiting.append(self._inbox.get(block=wait))
            except queue.Empty:
                return
            wait = False

    def _begin(self) -> None:
        base = self._next_base()
        if base is None:
            return
        calls = self._next_calls(base)
        self._waiting = [call for call in self._waiting if call not in calls]
        self._on_begin([call.id for call in calls])
        try:
            if self._started is None:
                self._started = self._start(base)
            self._engine.load(base)
        except ValueError as error:  # vLLM refuses the settings or the weights.
            for call in calls:
                call.stream.put(error)
            return
        methods: dict[str, Callable[..., Batch]] = {
            "generate": self._engine.begin_generate,
            "score": self._engine.begin_score,
        }
        for call in calls:
            call.stream.put(Settings(self._engine.settings))
            try:
                batch = methods[call.method](
                    call.requests, *call.arguments, call.adapter, must_differ=call.must_differ, priority=call.priority
                )
            except ValueError as error:
                call.stream.put(error)
                continue
            call.sent = self._clock()
            self._running[batch] = call

    def _next_base(self) -> str | None:
        """The base weights whose calls begin now, None for none."""
        if not self._waiting:
            return None
        if any(call.alone for call in self._running.values()):
            return None
        loaded = self._started.checkpoint if self._started is not None else None
        oldest = self._overdue()
        if self._busy:
            needs_idle = oldest is not None and (oldest.alone or oldest.base != loaded)
            return None if needs_idle else loaded
        if oldest is not None:
            return oldest.base

        def rank(base: str) -> tuple[bool, int, int, bool]:
            calls = [call for call in self._waiting if call.base == base]
            together = [call for call in calls if not call.alone]
            requests = sum(len(call.requests) for call in together or calls)
            return not together, min(call.priority for call in calls), -requests, base != loaded

        return min(dict.fromkeys(call.base for call in self._waiting), key=rank)

    def _overdue(self) -> Call | None:
        """The call that has waited for longest, if that is too long."""
        oldest = min(self._waiting, key=lambda call: call.since)
        return oldest if self._clock() - oldest.since > PATIENCE else None

    def _next_calls(self, base: str) -> list[Call]:
        """The calls on these base weights that begin now."""
        oldest = self._overdue()
        if oldest is not None and oldest.alone and not self._busy:
            return [oldest]
        calls = [call for call in self._waiting if call.base == base]
        together = [call for call in calls if not call.alone]
        if not together and not self._busy:
            return calls[:1]
        return sorted(together, key=lambda call: str(call.adapter))  # A step holds few adapters.

    def _step(self) -> None:
        for batch, i, result in list(self._engine.step()):
            self._running[batch].chunk.append((i, result))
        now = self._clock()
        for batch, call in list(self._running.items()):
            if call.chunk and (batch.done or now - call.sent > CHUNK_SECONDS):
                call.stream.put(call.chunk)
                call.chunk, call.sent = [], now
            if batch.done:
                call.stream.put(batch.error)
                del self._running[batch]
