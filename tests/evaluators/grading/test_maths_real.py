"""Grading of maths on all rows of the real data sets, which are not part of the repository."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from math_verify import parse, verify

from evaluators.benchmarks import math500, olympiadbench
from evaluators.grading import maths
from evaluators.grading.boxed import last_boxed
from evaluators.grading.symbolic import CPUS
from evaluators.rows import check_columns
from perf.answer_variants import answers, gold_answer, perturbed

FOLDER = os.environ.get("OFFMODEL_REAL_DATA")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FOLDER, reason="OFFMODEL_REAL_DATA does not name a folder with the real rows"),
]
FILES = {"MATH-500": ("math500.jsonl", math500), "OlympiadBench": ("olympiadbench.jsonl", olympiadbench)}


def read(file: str) -> list[dict]:
    return [json.loads(line) for line in Path(FOLDER, file).read_text(encoding="utf-8").splitlines()]


def by_math_verify(gold: str, answer: str) -> bool:
    return verify(*(parse(f"${text}$", parsing_timeout=None) for text in (gold, answer)), timeout_seconds=None)


@pytest.fixture(params=list(FILES))
def benchmark_rows(request):
    file, benchmark = FILES[request.param]
    return benchmark, read(file)


def in_threads(function, pairs: list) -> list:
    with ThreadPoolExecutor(CPUS) as pool:
        return list(pool.map(lambda pair: function(*pair), pairs))


def test_every_gold_answer_is_parsable(benchmark_rows):
    benchmark, rows = benchmark_rows
    check_columns(rows, benchmark.COLUMNS, "maths")
    in_threads(benchmark.check, [(row,) for row in rows])


@pytest.mark.parametrize("short_cut", [True, False])
def test_gold_answers_are_correct(benchmark_rows, short_cut):
    benchmark, rows = benchmark_rows
    pairs = [(benchmark.gold(row), f"\\boxed{{{gold_answer(row)}}}", short_cut) for row in rows]
    verdicts = in_threads(maths.grade, pairs)
    assert sum(verdict.correct for verdict in verdicts) >= 0.995 * len(rows)
    assert all(verdict.parsed and not verdict.note for verdict in verdicts)


def test_solutions_are_correct():
    file, benchmark = FILES["MATH-500"]
    rows = read(file)
    assert sum(benchmark.grade(row, row["solution"]).correct for row in rows) >= 0.995 * len(rows)


def test_perturbed_gold_answers_are_wrong(benchmark_rows):
    benchmark, rows = benchmark_rows
    # One perturbation of each row; perf.grading uses all.
    made = [(row, perturbed(gold_answer(row)), n) for n, row in enumerate(rows)]
    pairs = [(row, f"\\boxed{{{wrong[n % len(wrong)]}}}") for row, wrong, n in made]
    accepted = [
        text for (_, text), verdict in zip(pairs, in_threads(benchmark.grade, pairs), strict=True) if verdict.correct
    ]
    assert len(accepted) <= 0.005 * len(pairs), accepted


def test_verdicts_differ_from_math_verify_only_as_documented():
    file, benchmark = FILES["MATH-500"]
    listed = {"blanks and a full stop", "a name", "perturbed"}
    made = [(row, kind, text) for row, kind, text in answers(read(file)[::5]) if kind not in listed]
    verdicts = in_threads(benchmark.grade, [(row, text) for row, _, text in made])
    other = []
    for (row, kind, text), verdict in zip(made, verdicts, strict=True):
        held = last_boxed(text)
        if verdict.correct != (held is not None and by_math_verify(gold_answer(row), held)):
            other.append((kind, gold_answer(row), held))
    assert other == []


def test_the_groups_of_real_rows(benchmark_rows):
    benchmark, rows = benchmark_rows
    names = {"level", "subject"} if "problem" in rows[0] else {"subfield"}
    assert all(set(benchmark.group(row)) == names for row in rows)
