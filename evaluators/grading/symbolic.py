"""Questions on mathematics in LaTeX, answered by math-verify in processes of their own (`sympy_worker.py`), in bounds.

A model can write LaTeX on which symbolic algebra never ends, or takes all memory. So the question goes to a child
process that may use so many seconds of CPU time, which a busy machine does not change, and so much memory; what it
cannot answer within these bounds is "not the same", with a note that says why. A child that dies is replaced. Any
thread may ask; as many children work at once as there are CPUs, started when they are needed.
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
WALL_SECONDS = 120.0  # only a safety net: a child that no CPU second is given to, or that sleeps
CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
REMEMBERED = 16384

_places = threading.BoundedSemaphore(CPUS)
_idle: list[subprocess.Popen] = []


@dataclass(frozen=True)
class Judgement:
    """Whether it is so, and in `note` why no judgement was possible (then `so` is False)."""

    so: bool
    note: str = ""


@lru_cache(REMEMBERED)
def same_mathematics(golds: tuple[str, ...], answers: tuple[str, ...], tolerance: float | None = None) -> Judgement:
    """Whether each of `golds` is one of `answers`, each of which is used once; numbers may differ by `tolerance`."""
    return _ask("same", golds, answers, tolerance)


@lru_cache(REMEMBERED)
def is_mathematics(text: str) -> Judgement:
    """Whether math-verify can read `text`."""
    return _ask("reads", text)


def _ask(*question: object) -> Judgement:
    line = json.dumps(question) + "\n"
    with _places:
        while True:
            judge = _idle.pop() if _idle else _started()
            said = _said(judge, line)
            if said:
                _idle.append(judge)
                return Judgement(*json.loads(said))
            if judge.poll() is None:
                judge.kill()
                judge.wait()
                return Judgement(False, f"no judgement within {WALL_SECONDS:.0f} s")
            if judge.returncode != 0:  # 0: it had grown too large, and left before it took the question.
                return Judgement(False, _ending(judge.returncode))


def _said(judge: subprocess.Popen, line: str) -> str:
    """What a child says to a line; nothing where it ends, or does not answer in time."""
    assert judge.stdin is not None
    assert judge.stdout is not None
    try:
        judge.stdin.write(line)
        judge.stdin.flush()
    except BrokenPipeError:
        judge.wait()
        return ""
    poll = select.poll()
    poll.register(judge.stdout, select.POLLIN | select.POLLHUP)
    if not poll.poll(WALL_SECONDS * 1000):
        return ""
    said = judge.stdout.readline()
    if not said:
        judge.wait()
    return said


def _ending(code: int) -> str:
    if code == -signal.SIGXCPU:
        return f"symbolic algebra took more than {CPU_SECONDS} s"
    return f"symbolic algebra ended with {signal.Signals(-code).name if code < 0 else f'exit status {code}'}"


def _started() -> subprocess.Popen:
    judge = subprocess.Popen(
        [sys.executable, "-m", "evaluators.grading.sympy_worker", str(CPU_SECONDS), str(GIBIBYTES)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        process_group=0,  # An interrupt of the terminal is for the parent, whose end ends this one's standard input.
        cwd=Path(__file__).parents[2],
        # The order of sympy's sets follows hashes, and the verdict shall not.
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )
    assert judge.stdout is not None
    if not judge.stdout.readline():  # It has loaded what it needs, which is not to be taken from a question's time.
        raise RuntimeError(
            f"{sys.executable} -m evaluators.grading.sympy_worker does not start; its last words are above"
        )
    return judge


def _forget() -> None:
    """In a fork: the children, and the places of the threads that are not there, belong to the process it came from."""
    global _places
    _places = threading.BoundedSemaphore(CPUS)
    _idle.clear()


os.register_at_fork(after_in_child=_forget)
