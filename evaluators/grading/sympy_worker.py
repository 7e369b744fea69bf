"""A worker process that compares LaTeX by math-verify: one JSON line per request, one JSON line per reply.

    python -m evaluators.grading.sympy_worker CPU_SECONDS GIBIBYTES

`symbolic.py` starts and calls it. Differences from `math_verify.verify(parse(gold), parse(answer))`:

- a text is parsed as a whole: no number is extracted from the words around it;
- `name = value` is parsed as `value` where math-verify cannot parse the name (`m_{\\max} = 3`);
- of `N = n` and `N = n + 1` the right sides are compared, since math-verify does not tell `N` from `n`;
- numbers below 0.001 are compared to three significant digits, where math-verify rounds to six decimals;
- a number with a percent sign equals itself and its hundredth.
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

EXTRACTION = [LatexExtractionConfig()]
DECIMALS, DIGITS = 6, 3

_failures: list[str] = []  # names of the exceptions that math-verify swallowed during a request


def equivalent(golds: list[str], answers: list[str], tolerance: float | None) -> tuple[bool, str]:
    """Whether golds and answers are equal one to one, in any order, with a note where the comparison failed."""
    left = list(answers)
    for gold in golds:
        match = next((answer for answer in left if _equal(gold, answer, tolerance)), None)
        if match is None:
            return False, _note()
        left.remove(match)
    return not left, ""


def is_parsable(text: str) -> tuple[bool, str]:
    """Whether math-verify can parse a text, with a note where parsing failed."""
    return any(isinstance(one, Basic | MatrixBase) for one in _parse(text)), _note()


def _equal(gold: str, answer: str, tolerance: float | None) -> bool:
    if gold.endswith("%") and not answer.endswith("%"):
        if _equal(_hundredth(gold), answer, tolerance and tolerance / 100):
            return True
    elif answer.endswith("%") and not gold.endswith("%") and _equal(gold, _hundredth(answer), tolerance):
        return True
    gold_name, gold_named, gold_value = gold.partition("=")
    name, named, value = answer.partition("=")
    if gold_named and named and gold_name.strip() == name.strip():
        return _equal(gold_value.strip(), value.strip(), tolerance)
    parsed_gold, parsed_answer = _parse(gold), _parse(answer)
    if tolerance is not None:
        number, other = _number(parsed_gold), _number(parsed_answer)
        # 1.01 as in OlympiadBench's own grader: a difference of exactly the tolerance passes, in spite of rounding.
        if number is not None and other is not None and abs(number - other) <= tolerance * 1.01:
            return True
    return math_verify.verify(parsed_gold, parsed_answer, float_rounding=_decimals(parsed_gold), timeout_seconds=None)


def _hundredth(percent: str) -> str:
    return f"\\frac{{{_unsigned(percent)}}}{{100}}"


def _unsigned(percent: str) -> str:
    return percent.rstrip("%").rstrip("\\ ")


def _parse(text: str) -> list:
    """math-verify's parse of a text: an expression, where there is one, and the normalised text."""
    parsed, failures = _parse_cached(text)
    _failures.extend(failures)
    return parsed


@lru_cache(4096)
def _parse_cached(text: str) -> tuple[list, list[str]]:
    before = len(_failures)
    parsed = math_verify.parse(f"${_unsigned(text)}$", EXTRACTION, extraction_mode="first_match", parsing_timeout=None)
    value = text.rpartition("=")[2].strip()
    if value and value != text and not any(isinstance(one, Basic | MatrixBase) for one in parsed):
        parsed = _parse(value)
    failures = _failures[before:]
    del _failures[before:]
    return parsed, failures


def _number(parsed: list) -> float | None:
    try:
        number = float(parsed[0])
    except (TypeError, ValueError, OverflowError, IndexError):
        return None
    return number if math.isfinite(number) else None


def _decimals(gold: list) -> int:
    size = abs(_number(gold) or 1)
    return max(DECIMALS, DIGITS - 1 - math.floor(math.log10(size)))


def _recording(function: Callable) -> Callable:
    """Record exceptions that mean a failed comparison: math-verify takes every exception for "not equal"."""

    def recorded(*arguments, **options):
        try:
            return function(*arguments, **options)
        except (MemoryError, RecursionError, OverflowError) as error:
            _failures.append(type(error).__name__)
            raise

    return recorded


def _note() -> str:
    return f"symbolic algebra failed: {_failures[0]}" if _failures else ""


@contextmanager
def _cpu_limit(seconds: int) -> Iterator[None]:
    """A signal ends this process where the body uses more CPU time, even inside one arithmetic operation."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _limit(resource.RLIMIT_CPU, math.ceil(used.ru_utime + used.ru_stime) + seconds)
    yield
    _limit(resource.RLIMIT_CPU, None)


def _limit(kind: int, most: int | None) -> None:
    """Set a soft limit, at most the process's hard limit; None removes the soft limit."""
    _, hard = resource.getrlimit(kind)
    below = [value for value in (most, hard) if value is not None and value != resource.RLIM_INFINITY]
    resource.setrlimit(kind, (min(below, default=resource.RLIM_INFINITY), hard))


def main(seconds: int, gibibytes: int) -> None:
    for module, name in ((parser, "latex2sympy"), (grader, "simplify"), (grader, "solve"), (grader, "safe_sympy_doit")):
        setattr(module, name, _recording(getattr(module, name)))
    logging.getLogger("math_verify").setLevel(logging.ERROR)  # It warns about its disabled timeouts.
    math_verify.verify(math_verify.parse("$x^2$", parsing_timeout=None), [], timeout_seconds=None)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_AS, gibibytes << 30)
    # Output of libraries must not mix with the replies.
    replies, devnull = os.fdopen(os.dup(1), "w"), os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    print("ready", file=replies, flush=True)
    os.dup2(devnull, 2)
    process = psutil.Process()
    for line in sys.stdin:
        function, *arguments = json.loads(line)
        _failures.clear()
        with _cpu_limit(seconds):
            result = equivalent(*arguments) if function == "equivalent" else is_parsable(*arguments)
        print(json.dumps(result), file=replies, flush=True)
        # Not ru_maxrss, which a worker inherits from the process that started it.
        if process.memory_info().rss > gibibytes << 29:  # half of the limit
            return


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
