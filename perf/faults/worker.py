"""A process that finishes the stages of graph.py, and to which faults happen at chosen calls of the store.

python -m perf.faults.worker STORE EXECUTED LEASE_SECONDS FAULTS
"""

import contextlib
import errno
import json
import logging
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from orchestrator.run import stage_runner
from orchestrator.run.event_log import EventLog
from orchestrator.run.stage_runner import StageRunner
from orchestrator.store import files, leases
from orchestrator.store.store import Store
from perf.faults import graph

BURST = 4  # calls that an error lasts for


class Injector:
    """Takes the place of `files.retried`: the numbers of calls decide which fault happens at which."""

    def __init__(self, faults: dict[int, str], lease_seconds: float):
        self._faults, self._lease = faults, lease_seconds
        self._calls, self._retried = count(), files.retried
        self._lock = threading.Lock()
        self._error: tuple[str, float, int] | None = None  # kind, until when, calls left

    def __call__(self, act: Callable[[], Any], what: str) -> Any:
        def once() -> Any:
            with self._lock:
                fault = self._faults.get(next(self._calls), "")
            self._raise_error(fault)
            if fault == "kill before":
                os.kill(os.getpid(), signal.SIGKILL)
            if fault == "slow":
                time.sleep(0.7 * self._lease)
            if fault == "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            result = act()
            if fault == "kill after":
                os.kill(os.getpid(), signal.SIGKILL)
            if fault == "lost answer":
                raise ConnectionResetError(errno.ECONNRESET, "the answer was lost")
            return result

        return self._retried(once, what)

    def _raise_error(self, fault: str) -> None:
        with self._lock:
            if fault in ("disk error", "disk full"):
                self._error = (fault, float("inf"), BURST)
            elif fault == "partition":
                self._error = (fault, time.monotonic() + 2.5 * self._lease, 10**9)
            if self._error is None:
                return
            kind, until, left = self._error
            self._error = (kind, until, left - 1) if left > 1 and time.monotonic() < until else None
        if kind == "partition":
            raise ConnectionError(errno.ENETUNREACH, "no route to the store")
        raise OSError(errno.ENOSPC if kind == "disk full" else errno.EIO, kind)


class Called:
    """A remote function, or a method of an actor, that is called in this process."""

    def __init__(self, call: Callable[..., Any]):
        self.remote = call

    def options(self, **_: Any) -> "Called":
        return self


def main(store_uri: str, executed: str, lease_seconds: float, faults: dict[int, str]) -> None:
    """Finish all stages."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(process)d %(message)s")
    stage_runner.KINDS.update(graph.kinds(Path(executed)))  # type: ignore[arg-type]
    stage_runner.ray = SimpleNamespace(get=lambda value: value)
    stage_runner._perform_as_task = Called(stage_runner._perform_as_task._function)
    # A task that has lost its lease ends its process. Here that process is this one, which is started again.
    stage_runner._end_process = lambda: os.kill(os.getpid(), signal.SIGKILL)
    stage_runner.resources_of = lambda *_: contextlib.nullcontext()  # type: ignore[assignment]
    request = partial(leases.LeaseRequest, seconds=lease_seconds)
    stage_runner.LeaseRequest = request  # type: ignore[assignment, misc]
    sleep = time.sleep
    files.sleep = lambda seconds: sleep(min(float(seconds), lease_seconds / 2))
    files.retried = Injector(faults, lease_seconds)
    event_log = EventLog()
    methods = ("wait", "start", "finish", "fail", "failure", "advance")
    handle = SimpleNamespace(**{name: Called(getattr(event_log, name)) for name in methods})
    runner = StageRunner(uuid.uuid4().hex[:8], Store(store_uri), handle, None, "trial")
    runner.ensure(graph.stages())
    runner._background.shutdown()


if __name__ == "__main__":
    uri, executed_path, seconds, given = sys.argv[1:]
    main(uri, executed_path, float(seconds), {int(number): fault for number, fault in json.loads(given).items()})
