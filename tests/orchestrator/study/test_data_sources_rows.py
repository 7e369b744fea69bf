"""The files of the study on data sources are what its script writes."""

import runpy

from evaluators.rows import read_rows
from tests.conftest import EXPERIMENTS

FOLDER = EXPERIMENTS / "data-sources"
SCRIPT = runpy.run_path(str(FOLDER / "rows.py"))


def test_the_parquet_file_has_the_answers_that_the_script_writes():
    assert read_rows(str(FOLDER / "answers.parquet")) == SCRIPT["answers"]()


def test_the_corpus_is_the_text_that_the_script_writes():
    assert (FOLDER / "corpus.txt").read_text() == SCRIPT["corpus"]()


def test_no_line_of_the_corpus_is_a_prompt_or_names_one():
    prompts = {row["prompt"] for row in SCRIPT["answers"]()}
    lines = SCRIPT["corpus"]().splitlines()
    assert all(line.startswith("first take ") for line in lines)
    assert prompts.isdisjoint(lines)
