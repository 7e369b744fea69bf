"""Symbolic comparison of LaTeX by math-verify, in worker processes with limits on CPU time and memory.

A model can write LaTeX on which symbolic algebra never terminates, or uses all memory. A worker (`sympy_worker.py`)
has a limit of CPU time, which does not depend on the machine's load, and of memory. Beyond these limits the result is
False, with a note that says why, and the worker is replaced. The functions are thread-safe. There are at most as many
workers as CPUs; each starts when it is first needed.
"""

import json
import os
import select
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

CPU_SECONDS, GIBIBYTES = 5, 2
WALL_SECONDS = 120.0  # for a worker that gets no CPU time, or sleeps
CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
CACHED = 16384

_slots = threading.BoundedSemaphore(CPUS)
_idle: list[subprocess.Popen] = []


@dataclass(frozen=True)
class SymbolicResult:
    """`value` is False also where the comparison failed; `note` then says why."""

    value: bool
    note: str = ""


@lru_cache(CACHED)
def equivalent(golds: tuple[str, ...], answers: tuple[str, ...], tolerance: float | None = None) -> SymbolicResult:
    """Whether `golds` and `answers` are equivalent one to one, in any order; numbers may differ by `tolerance`."""
    return _call("equivalent", golds, answers, tolerance)


@lru_cache(CACHED)
def is_parsable(text: str) -> SymbolicResult:
    """Whether math-verify can parse `text`."""
    return _call("is_parsable", text)


def _call(function: str, *arguments: object) -> SymbolicResult:
    request = json.dumps((function, *arguments)) + "\n"
    with _slots:
        while True:
            worker = _idle.pop() if _idle else _start()
            reply = _reply(worker, request)
            if reply:
                _idle.append(worker)
                return SymbolicResult(*json.loads(reply))
            if worker.poll() is None:
                worker.kill()
                worker.wait()
                return SymbolicResult(False, f"no result within {WALL_SECONDS:.0f} s")
            if worker.returncode != 0:  # 0: it used too much memory and exited before it read the request.
                return SymbolicResult(False, _exit_note(worker.returncode))


def _reply(worker: subprocess.Popen, request: str) -> str:
    """The worker's line of reply; empty where it exits, or does not reply within `WALL_SECONDS`."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        worker.stdin.write(request)
        worker.stdin.flush()
    except BrokenPipeError:
        worker.wait()
        return ""
    poll = select.poll()
    poll.register(worker.stdout, select.POLLIN | select.POLLHUP)
    if not poll.poll(WALL_SECONDS * 1000):
        return ""
    reply = worker.stdout.readline()
    if not reply:
        worker.wait()
    return reply


def _exit_note(code: int) -> str:
    if code == -signal.SIGXCPU:
        return f"symbolic algebra took more than {CPU_SECONDS} s"
    return f"symbolic algebra ended with {signal.Signals(-code).name if code < 0 else f'exit status {code}'}"


def _start() -> subprocess.Popen:
    worker = subprocess.Popen(
        [sys.executable, "-m", "evaluators.grading.sympy_worker", str(CPU_SECONDS), str(GIBIBYTES)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        process_group=0,  # Ctrl-C goes to the parent only; the worker exits when its standard input closes.
        cwd=Path(__file__).parents[2],
        # The order of sympy's sets depends on hashes, and verdicts must not.
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )
    assert worker.stdout is not None
    if not worker.stdout.readline():  # "ready", after its imports, so that these do not count as time of a request.
        raise RuntimeError(f"{sys.executable} -m evaluators.grading.sympy_worker does not start; see its error above")
    return worker


def _reset_after_fork() -> None:
    """A fork must not share the workers and slots of the process that it was forked from."""
    global _slots
    _slots = threading.BoundedSemaphore(CPUS)
    _idle.clear()


os.register_at_fork(after_in_child=_reset_after_fork)
