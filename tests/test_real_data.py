"""The benchmarks on rows of the real data sets, which are not part of the project."""

import os
from itertools import pairwise
from pathlib import Path

import pytest

from evaluators.benchmarks import BENCHMARKS
from evaluators.evaluate import chats_of
from evaluators.rows import check_columns, read_rows

FOLDER = os.environ.get("OFFMODEL_REAL_DATA")
pytestmark = pytest.mark.skipif(not FOLDER, reason="OFFMODEL_REAL_DATA does not name a folder with the real rows")


def read(name: str, n: int | None) -> list[dict]:
    rows = read_rows(str(Path(FOLDER, name)))[:n]
    assert rows
    return rows


def test_gold_answers_of_math500_are_correct():
    rows = read("math500.jsonl", 50)
    check_columns(rows, BENCHMARKS["math500"].COLUMNS, "math500")
    graded = [BENCHMARKS["math500"].grade(row, f"So it is \\boxed{{{row['answer']}}}.") for row in rows]
    assert sum(verdict.correct for verdict in graded) >= 0.95 * len(rows)


def test_gold_answers_of_math500_are_wrong_for_other_problems():
    rows = read("math500.jsonl", 50)
    others = [other for other in pairwise(rows) if other[0]["answer"] != other[1]["answer"]]
    graded = [BENCHMARKS["math500"].grade(row, f"\\boxed{{{other['answer']}}}").correct for row, other in others]
    assert sum(graded) <= 0.05 * len(graded)


def boxed_gold(row: dict) -> str:
    return f"\\boxed{{{', '.join(answer.strip().strip('$') for answer in row['final_answer'])}}}"


@pytest.mark.parametrize(
    "multiple",
    [
        False,
        pytest.param(True),
    ],
)
def test_gold_answers_of_olympiadbench_are_correct(multiple):
    rows = [row for row in read("olympiadbench.jsonl", None) if row["is_multiple_answer"] == multiple][:50]
    check_columns(rows, BENCHMARKS["olympiadbench"].COLUMNS, "olympiadbench")
    correct = [BENCHMARKS["olympiadbench"].grade(row, boxed_gold(row)).correct for row in rows]
    assert sum(correct) >= 0.8 * len(rows)


def test_mmlu_rows_are_asked_with_all_their_options():
    rows = read("mmlu_stem.jsonl", 50)
    check_columns(rows, BENCHMARKS["mmlu"].COLUMNS, "mmlu")
    for row, (message,) in zip(rows, chats_of("mmlu", rows, None), strict=True):
        assert len(row["choices"]) == 4
        assert row["question"] in message["content"]
        for letter, choice in zip("ABCD", row["choices"], strict=True):
            assert f"\n{letter}. {choice}\n" in message["content"]


def test_ifeval_rows_that_can_be_checked_are_graded():
    rows = read("ifeval.jsonl", None)
    check_columns(rows, BENCHMARKS["ifeval"].COLUMNS, "ifeval")
    known = [row for row in rows if set(row["instruction_id_list"]) <= set(BENCHMARKS["ifeval"].CHECKS)]
    assert known
    for row in known:
        BENCHMARKS["ifeval"].fields(row)
        assert BENCHMARKS["ifeval"].grade(row, "An answer of a few words.").found
