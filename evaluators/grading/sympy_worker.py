"""A process that answers questions on mathematics in LaTeX by math-verify: one line of JSON in, one out.

    python -m evaluators.judge CPU_SECONDS GIBIBYTES

It is `symbolic.py` that starts and asks it. Where it departs from `math_verify.verify(parse(gold), parse(answer))`:

- a text is mathematics as a whole: no number is picked out of words around it;
- `name = value` is read as `value` where math-verify cannot read the name (`m_{\\max} = 3`);
- of `N = n` and `N = n + 1` the right sides are compared, where math-verify has no letter of either case twice;
- numbers below 0.001 are compared to three significant digits, where math-verify rounds to six decimals;
- a number with a percent sign is itself and its hundredth.
"""

import json
import logging
import math
import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache

import math_verify
import psutil
from math_verify import LatexExtractionConfig, grader, parser
from sympy import Basic, MatrixBase

READING = [LatexExtractionConfig()]
DECIMALS, DIGITS = 6, 3

_given_up: list[str] = []


def same(golds: list[str], answers: list[str], tolerance: float | None) -> tuple[bool, str]:
    """Whether each of the golds is another one of the answers."""
    left = list(answers)
    for gold in golds:
        match = next((answer for answer in left if _equal(gold, answer, tolerance)), None)
        if match is None:
            return False, _note()
        left.remove(match)
    return not left, ""


def reads(text: str) -> tuple[bool, str]:
    """Whether a text is mathematics."""
    return any(isinstance(one, Basic | MatrixBase) for one in _read(text)), _note()


def _equal(gold: str, answer: str, tolerance: float | None) -> bool:
    if gold.endswith("%") and not answer.endswith("%"):
        if _equal(_hundredth(gold), answer, tolerance and tolerance / 100):
            return True
    elif answer.endswith("%") and not gold.endswith("%") and _equal(gold, _hundredth(answer), tolerance):
        return True
    name, named, value = gold.partition("=")
    same_name, also_named, given = answer.partition("=")
    if named and also_named and name.strip() == same_name.strip():
        return _equal(value.strip(), given.strip(), tolerance)
    ours, theirs = _read(gold), _read(answer)
    if tolerance is not None:
        number, other = _number(ours), _number(theirs)
        # 1.01 as in OlympiadBench's own judge: the bound itself is within, however it is rounded.
        if number is not None and other is not None and abs(number - other) <= tolerance * 1.01:
            return True
    return math_verify.verify(ours, theirs, float_rounding=_decimals(ours), timeout_seconds=None)


def _hundredth(percent: str) -> str:
    return f"\\frac{{{_unsigned(percent)}}}{{100}}"


def _unsigned(percent: str) -> str:
    return percent.rstrip("%").rstrip("\\ ")


def _read(text: str) -> list:
    """What math-verify makes of a text: an expression, where it can, and the text as it normalised it."""
    found, grading_failed = _read_once(text)
    _given_up.extend(grading_failed)
    return found


@lru_cache(4096)
def _read_once(text: str) -> tuple[list, list[str]]:
    known = len(_given_up)
    found = math_verify.parse(f"${_unsigned(text)}$", READING, extraction_mode="first_match", parsing_timeout=None)
    value = text.rpartition("=")[2].strip()
    if value and value != text and not any(isinstance(one, Basic | MatrixBase) for one in found):
        found = _read(value)
    grading_failed = _given_up[known:]
    del _given_up[known:]
    return found, grading_failed


def _number(read: list) -> float | None:
    try:
        number = float(read[0])
    except (TypeError, ValueError, OverflowError, IndexError):
        return None
    return number if math.isfinite(number) else None


def _decimals(gold: list) -> int:
    size = abs(_number(gold) or 1)
    return max(DECIMALS, DIGITS - 1 - math.floor(math.log10(size)))


def _noted(function: Callable) -> Callable:
    """math-verify takes every exception for "not the same"; a want of memory or of depth is to be told apart."""

    def noted(*arguments, **options):
        try:
            return function(*arguments, **options)
        except (MemoryError, RecursionError, OverflowError) as error:
            _given_up.append(type(error).__name__)
            raise

    return noted


def _note() -> str:
    return f"symbolic algebra gave up: {_given_up[0]}" if _given_up else ""


@contextmanager
def _bounded(seconds: int) -> Iterator[None]:
    """Ends this process where the body uses more CPU time; the signal interrupts arithmetic, too."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _limit(resource.RLIMIT_CPU, math.ceil(used.ru_utime + used.ru_stime) + seconds)
    yield
    _limit(resource.RLIMIT_CPU, None)


def _limit(kind: int, most: int | None) -> None:
    """Sets a soft limit, under the hard one that this process was started with; None for none of our own."""
    _, hard = resource.getrlimit(kind)
    below = [value for value in (most, hard) if value is not None and value != resource.RLIM_INFINITY]
    resource.setrlimit(kind, (min(below, default=resource.RLIM_INFINITY), hard))


def main(seconds: int, gibibytes: int) -> None:
    for module, name in ((parser, "latex2sympy"), (grader, "simplify"), (grader, "solve"), (grader, "safe_sympy_doit")):
        setattr(module, name, _noted(getattr(module, name)))
    logging.getLogger("math_verify").setLevel(logging.ERROR)  # It warns that the bounds are ours.
    math_verify.verify(math_verify.parse("$x^2$", parsing_timeout=None), [], timeout_seconds=None)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_AS, gibibytes << 30)
    # Nothing that a library prints may look like an answer.
    answers, silence = os.fdopen(os.dup(1), "w"), os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    print("ready", file=answers, flush=True)
    os.dup2(silence, 2)
    process = psutil.Process()
    for line in sys.stdin:
        kind, *question = json.loads(line)
        _given_up.clear()
        with _bounded(seconds):
            answer = same(*question) if kind == "same" else reads(*question)
        print(json.dumps(answer), file=answers, flush=True)
        # What it holds now, not its ru_maxrss: that begins with what the process that started it held.
        if process.memory_info().rss > gibibytes << 29:  # half of the bound
            return


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
