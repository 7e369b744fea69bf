"""The benchmarks on rows of the real data sets, which are not part of the repository."""

import os
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


def test_prompts_of_mmlu_have_all_options():
    rows = read("mmlu_stem.jsonl", 50)
    check_columns(rows, BENCHMARKS.module("mmlu").COLUMNS, "mmlu")
    for row, (message,) in zip(rows, chats_of("mmlu", rows, None), strict=True):
        assert len(row["choices"]) == 4
        assert row["question"] in message["content"]
        for letter, choice in zip("ABCD", row["choices"], strict=True):
            assert f"\n{letter}. {choice}\n" in message["content"]
