"""Symbolic equality, in bounds."""

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from evaluators.grading import symbolic
from evaluators.grading.symbolic import Judgement, is_mathematics, same_mathematics


@pytest.fixture
def afresh(monkeypatch):
    """Children and memory of this test's own."""
    monkeypatch.setattr(symbolic, "_idle", [])
    same_mathematics.cache_clear()
    yield monkeypatch
    same_mathematics.cache_clear()


def same(gold: str, answer: str, tolerance: float | None = None) -> bool:
    judgement = same_mathematics((gold,), (answer,), tolerance)
    assert judgement.note == ""
    return judgement.so


@pytest.mark.parametrize(
    ("gold", "answer", "so"),
    [
        (r"\frac{1}{2}", "0.5", True),
        (r"\frac{1}{2}", r"\frac{2}{4}", True),
        ("(0,1)", "(1,0)", False),
        (r"2\sqrt{2}", r"\sqrt{8}", True),
        ("x+1", "x-1", False),
        ("7", "fox", False),
        ("0.0000672", "0.0000671", False),
        ("0.0000672", "6.72 \\cdot 10^{-5}", True),
        ("N=n", "N=n+1", False),
        ("f(x)=2x", "2x", True),
        ("f(x)=2x", "f(x)=x+x", True),
        (r"m_{\max}=3", "3", True),
        (r"8\%", "0.08", True),
        (r"8\%", "8", True),
        ("8", r"8\%", True),
        ("0.15", r"15\%", True),
        (r"8\%", "0.8", False),
        ("4", "foo 4 bar", False),
    ],
)
def test_sameness(gold, answer, so):
    assert same(gold, answer) is so


@pytest.mark.parametrize(
    ("gold", "answer", "so"),
    [("4.2", "4.3", True), ("4.2", "4.1", True), ("4.2", "4.31", False), ("4.2", "x", False), (r"4.2\%", "0.1", False)],
)
def test_tolerance(gold, answer, so):
    assert same(gold, answer, 0.1) is so


def test_each_answer_is_used_once():
    assert same_mathematics(("1", "1/2"), ("0.5", "1.0")).so
    assert not same_mathematics(("1", "1"), ("1.0", "2")).so
    assert not same_mathematics(("1",), ("1.0", "1")).so


def test_what_can_be_read():
    assert is_mathematics(r"\frac{1}{2}").so
    assert is_mathematics(r"\text{Evelyn}").so
    assert not is_mathematics(r"\frac{1}{").so


@pytest.mark.parametrize("answer", [r"9^{9^{9^{9}}}", r"99999999!", r"\sum_{n=1}^{10^9} n^n"])
def test_what_does_not_end_is_ended_with_a_note_and_the_next_question_answered(afresh, answer):
    afresh.setattr(symbolic, "CPU_SECONDS", 1)
    judged = same_mathematics(("1",), (answer,))
    assert judged == Judgement(False, "symbolic algebra took more than 1 s")
    assert same(r"\frac{1}{2}", "0.5")


def test_too_little_memory_is_noted():
    program = """
import resource
from evaluators import judge
judge._limit(resource.RLIMIT_AS, 1 << 30)
try:
    judge._noted(bytearray)(2 << 30)
except MemoryError:
    print(judge._note())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "symbolic algebra gave up: MemoryError\n"


def test_a_note_is_kept_when_the_answer_is_compared_again(afresh):
    deep = "\\sqrt{" * 200 + "2" + "}" * 200
    notes = [same_mathematics((gold,), (deep,)).note for gold in ("1", "2")]
    assert notes == ["symbolic algebra gave up: RecursionError"] * 2


def test_what_is_nested_too_deep_is_noted(afresh):
    judged = same_mathematics(("1",), ("\\sqrt{" * 200 + "2" + "}" * 200,))
    assert judged == Judgement(False, "symbolic algebra gave up: RecursionError")


def test_a_child_that_is_killed_is_noted_and_replaced(afresh):
    assert same("1", "2/2")
    os.kill(symbolic._idle[0].pid, signal.SIGKILL)
    symbolic._idle[0].wait()
    assert same_mathematics(("2",), ("4/2",)).note == "symbolic algebra ended with SIGKILL"
    assert same("3", "6/2")


def test_a_child_that_left_by_itself_is_replaced_without_a_word(afresh):
    assert same("1", "2/2")
    symbolic._idle[0].stdin.close()
    symbolic._idle[0].wait()
    left = subprocess.Popen(["true"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    left.wait()
    symbolic._idle[:] = [left]
    assert same("2", "4/2")


def test_a_child_that_only_waits_is_ended(afresh):
    afresh.setattr(symbolic, "WALL_SECONDS", 0.2)
    sleeper = subprocess.Popen(["sleep", "60"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    symbolic._idle[:] = [sleeper]
    assert same_mathematics(("1",), ("3/3",)).note == "no judgement within 0 s"
    assert sleeper.returncode == -signal.SIGKILL


def test_a_child_that_cannot_start_is_an_error(afresh):
    afresh.setattr(sys, "executable", "true")
    with pytest.raises(RuntimeError, match="does not start"):
        same_mathematics(("1",), ("5/5",))


def test_threads_ask_at_once_and_share_a_few_children(afresh):
    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(lambda n: same(f"\\frac{{{n}}}{{2}}", f"{n}/2"), range(100)))
    assert all(said)
    assert 1 <= len(symbolic._idle) <= symbolic.CPUS
    assert threading.active_count() < 50


def test_a_fork_has_children_of_its_own(afresh):
    assert same("1", "8/8")
    fork = os.fork()
    if fork == 0:
        os._exit(0 if not symbolic._idle and same_mathematics(("1",), ("9/9",)).so else 1)
    assert os.waitpid(fork, 0)[1] == 0
    assert same("2", "8/4")


def test_a_question_is_asked_once(afresh):
    assert same("1", "7/7")
    symbolic._idle[0].kill()
    assert same("1", "7/7")


def test_nothing_heavy_is_loaded_here():
    program = (
        "import sys; from evaluators import maths; print([m for m in ('sympy', 'math_verify') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"


def test_a_child_stays_when_the_process_that_started_it_holds_much():
    # As a process with models in it does; the peak of memory use is handed on to children.
    program = """
from evaluators import symbolic
from evaluators.symbolic import same_mathematics
held = bytearray(1500 << 20)
for i in range(0, len(held), 4096):
    held[i] = 1
assert same_mathematics(("\\\\sqrt{2}",), ("x",)) == symbolic.Judgement(False)
(child,) = symbolic._idle
assert same_mathematics(("\\\\sqrt{3}",), ("x",)) == symbolic.Judgement(False)
assert symbolic._idle == [child]
"""
    subprocess.run([sys.executable, "-c", program], timeout=60, check=True)
