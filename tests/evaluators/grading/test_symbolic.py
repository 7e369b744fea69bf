"""Symbolic equivalence, with limits on time and memory."""

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from evaluators.grading import symbolic
from evaluators.grading.symbolic import SymbolicResult, equivalent, is_parsable


@pytest.fixture
def fresh(monkeypatch):
    """No workers and no cached results of other tests."""
    monkeypatch.setattr(symbolic, "_idle", [])
    equivalent.cache_clear()
    yield monkeypatch
    equivalent.cache_clear()


def same(gold: str, answer: str, tolerance: float | None = None) -> bool:
    result = equivalent((gold,), (answer,), tolerance)
    assert result.note == ""
    return result.value


@pytest.mark.parametrize(
    ("gold", "answer", "expected"),
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
def test_equivalence(gold, answer, expected):
    assert same(gold, answer) is expected


@pytest.mark.parametrize(
    ("gold", "answer", "expected"),
    [("4.2", "4.3", True), ("4.2", "4.1", True), ("4.2", "4.31", False), ("4.2", "x", False), (r"4.2\%", "0.1", False)],
)
def test_numbers_may_differ_by_the_tolerance(gold, answer, expected):
    assert same(gold, answer, 0.1) is expected


def test_each_answer_matches_one_gold_answer():
    assert equivalent(("1", "1/2"), ("0.5", "1.0")).value
    assert not equivalent(("1", "1"), ("1.0", "2")).value
    assert not equivalent(("1",), ("1.0", "1")).value


def test_parsable_and_unparsable_latex():
    assert is_parsable(r"\frac{1}{2}").value
    assert is_parsable(r"\text{Evelyn}").value
    assert not is_parsable(r"\frac{1}{").value


@pytest.mark.slow
@pytest.mark.parametrize("answer", [r"9^{9^{9^{9}}}", r"99999999!", r"\sum_{n=1}^{10^9} n^n"])
def test_an_endless_comparison_is_stopped_with_a_note_and_the_next_one_works(fresh, answer):
    fresh.setattr(symbolic, "CPU_SECONDS", 1)
    result = equivalent(("1",), (answer,))
    assert result == SymbolicResult(False, "symbolic algebra took more than 1 s")
    assert same(r"\frac{1}{2}", "0.5")


@pytest.mark.slow
def test_a_lack_of_memory_is_noted():
    program = """
import resource
from evaluators.grading import sympy_worker
sympy_worker._limit(resource.RLIMIT_AS, 1 << 30)
try:
    sympy_worker._recording(bytearray)(2 << 30)
except MemoryError:
    print(sympy_worker._note())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "symbolic algebra failed: MemoryError\n"


@pytest.mark.slow
def test_an_answer_that_is_compared_again_has_its_note_again(fresh):
    deep = "\\sqrt{" * 200 + "2" + "}" * 200
    notes = [equivalent((gold,), (deep,)).note for gold in ("1", "2")]
    assert notes == ["symbolic algebra failed: RecursionError"] * 2


@pytest.mark.slow
def test_deep_nesting_is_noted(fresh):
    result = equivalent(("1",), ("\\sqrt{" * 200 + "2" + "}" * 200,))
    assert result == SymbolicResult(False, "symbolic algebra failed: RecursionError")


def test_a_killed_worker_is_noted_and_replaced(fresh):
    assert same("1", "2/2")
    os.kill(symbolic._idle[0].pid, signal.SIGKILL)
    symbolic._idle[0].wait()
    assert equivalent(("2",), ("4/2",)).note == "symbolic algebra ended with SIGKILL"
    assert same("3", "6/2")


@pytest.mark.slow
def test_a_worker_that_exited_normally_is_replaced_without_a_note(fresh):
    assert same("1", "2/2")
    symbolic._idle[0].stdin.close()
    symbolic._idle[0].wait()
    left = subprocess.Popen(["true"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    left.wait()
    symbolic._idle[:] = [left]
    assert same("2", "4/2")


def test_a_worker_that_does_not_reply_is_killed(fresh):
    fresh.setattr(symbolic, "WALL_SECONDS", 0.2)
    sleeper = subprocess.Popen(["sleep", "60"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    symbolic._idle[:] = [sleeper]
    assert equivalent(("1",), ("3/3",)).note == "no result within 0 s"
    assert sleeper.returncode == -signal.SIGKILL


def test_a_worker_that_cannot_start_is_an_error(fresh):
    fresh.setattr(sys, "executable", "true")
    with pytest.raises(RuntimeError, match="does not start"):
        equivalent(("1",), ("5/5",))


@pytest.mark.slow
def test_threads_share_a_few_workers(fresh):
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda n: same(f"\\frac{{{n}}}{{2}}", f"{n}/2"), range(100)))
    assert all(results)
    assert 1 <= len(symbolic._idle) <= symbolic.CPUS
    assert threading.active_count() < 50


@pytest.mark.slow
def test_a_fork_starts_its_own_workers(fresh):
    assert same("1", "8/8")
    fork = os.fork()
    if fork == 0:
        os._exit(0 if not symbolic._idle and equivalent(("1",), ("9/9",)).value else 1)
    assert os.waitpid(fork, 0)[1] == 0
    assert same("2", "8/4")


def test_a_result_is_cached(fresh):
    assert same("1", "7/7")
    symbolic._idle[0].kill()
    assert same("1", "7/7")


def test_importing_the_grader_imports_neither_sympy_nor_math_verify():
    program = (
        "import sys; from evaluators.grading import maths; "
        "print([name for name in ('sympy', 'math_verify') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.slow
def test_a_worker_stays_when_its_parent_uses_much_memory():
    # A child inherits the peak of memory use of its parent, which may hold models.
    program = """
from evaluators.grading import symbolic
from evaluators.grading.symbolic import equivalent
held = bytearray(1500 << 20)
for i in range(0, len(held), 4096):
    held[i] = 1
assert equivalent(("\\\\sqrt{2}",), ("x",)) == symbolic.SymbolicResult(False)
(worker,) = symbolic._idle
assert equivalent(("\\\\sqrt{3}",), ("x",)) == symbolic.SymbolicResult(False)
assert symbolic._idle == [worker]
"""
    subprocess.run([sys.executable, "-c", program], timeout=60, check=True)
