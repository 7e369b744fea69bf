"""The rows of the studies on SmolLM2: each file is what `rows.py` writes, and what is written in it is right."""

import re
import runpy
from collections import Counter

import pytest

from evaluators.benchmarks import BENCHMARKS
from evaluators.rows import check_columns, read_rows
from tests.conftest import EXPERIMENTS

FOLDER = EXPERIMENTS / "smollm2"
WRITTEN = runpy.run_path(str(FOLDER / "rows.py"))["files"]()
NUMBERS = (
    r"\d|\b(one|two|three|four|five|six|seven|eight|nine|ten|first|second|third|half|dozen|hundred|thousand|once|twice|"
    r"number|sum|plus|minus|add|subtract|times|count|calculate|maths?)\b"
)


def rows(name: str) -> list[dict]:
    return read_rows(str(FOLDER / name))


def computed(prompt: str) -> list[int]:
    """The running values of a problem, from its prompt alone."""
    first, *steps = re.findall(r"(?:(add|subtract|plus|minus) )?(\d+)", prompt, re.IGNORECASE)
    values = [int(first[1])]
    for word, operand in steps:
        sign = {"add": 1, "plus": 1, "subtract": -1, "minus": -1}[word.lower()]
        values.append(values[-1] + sign * int(operand))
    return values


def problems(name: str) -> list[tuple[str, tuple[int, ...]]]:
    """The prompts of a file of arithmetic, and their running values."""
    prompts = [row["messages"][0]["content"] if "messages" in row else row["question"] for row in rows(name)]
    return [(prompt, tuple(computed(prompt))) for prompt in prompts]


@pytest.mark.parametrize("name", WRITTEN)
def test_a_file_is_what_the_script_writes(name):
    assert rows(name) == WRITTEN[name]


def test_training_answers_work_out_each_step():
    for row in rows("arithmetic-train.jsonl"):
        user, assistant = row["messages"]
        assert (user["role"], assistant["role"]) == ("user", "assistant")
        values = computed(user["content"])
        begin, *equations, end = assistant["content"].removesuffix(".").split(". ")
        assert begin == "Let me work it out step by step"
        assert end == f"The answer is {values[-1]}"
        worked = [re.fullmatch(r"(\d+) ([+-]) (\d+) = (\d+)", equation).groups() for equation in equations]
        assert [int(after) for *_, after in worked] == values[1:]
        assert [int(before) for before, *_ in worked] == values[:-1]
        assert all(int(a) + int(sign + b) == int(c) for a, sign, b, c in worked)


@pytest.mark.parametrize(("name", "levels", "per_level"), [("test", 4, 50), ("tune", 4, 20)])
def test_gold_answers_and_levels_are_those_of_the_question(name, levels, per_level):
    every = rows(f"arithmetic-{name}.jsonl")
    for row in every:
        values = computed(row["question"])
        assert (row["answer"], row["level"]) == (f"#### {values[-1]}", len(values) - 1)
    assert Counter(row["level"] for row in every) == dict.fromkeys(range(1, levels + 1), per_level)


def test_values_are_below_100_and_no_problem_is_in_two_files():
    """Whatever its wording, of which all files have each."""
    files = [problems(name) for name in WRITTEN if name.startswith("arithmetic")]
    assert [len(file) for file in files] == [1200, 200, 80]
    every = [values for file in files for _, values in file]
    assert len({*every}) == len(every) == 1480
    assert all(0 <= value <= 99 for values in every for value in values)
    assert Counter(len(values) - 1 for _, values in files[0]) == {1: 400, 2: 400, 3: 400}
    for file in files:
        assert {prompt.split()[0] for prompt, _ in file} == {"Start", "Take", "What"}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("arithmetic-test", "gsm8k"),
        ("arithmetic-tune", "gsm8k"),
        ("facts", "mmlu"),
        ("facts-open", "ifeval"),
        ("instructions", "ifeval"),
    ],
)
def test_rows_pass_the_checks_of_their_benchmark(name, kind):
    benchmark = BENCHMARKS.module(kind)
    every = rows(f"{name}.jsonl")
    check_columns(every, benchmark.COLUMNS, name)
    for row in every:
        benchmark.check(row)
    first = next(iter(benchmark.COLUMNS))
    assert len({row[first] for row in every}) == len(every)


def test_places_of_facts_are_balanced_and_their_choices_differ():
    every = rows("facts.jsonl")
    assert Counter(row["answer"] for row in every) == dict.fromkeys(range(4), 30)
    assert all(len({*row["choices"]}) == 4 for row in every)


def test_an_open_fact_accepts_its_answer_and_no_other_choice():
    """With or without an article, in any case and in the plural. The question does not contain its answer."""
    grade = BENCHMARKS.module("ifeval").grade
    for row, asked in zip(rows("facts-open.jsonl"), rows("facts.jsonl"), strict=True):
        assert (row["prompt"], row["subject"]) == (asked["question"], asked["subject"])
        right = asked["choices"][asked["answer"]]
        assert [choice for choice in asked["choices"] if grade(row, f"I think {choice}.").correct] == [right]
        assert grade(row, f"**{right.split()[-1].lower()}s**").correct
        assert not grade(row, row["prompt"]).correct


def test_an_instruction_states_what_is_checked():
    for row in rows("instructions.jsonl"):
        for given in row["kwargs"]:
            for key, value in given.items():
                if key != "relation":
                    texts = value if isinstance(value, list) else [str(value)]
                    assert all(text in row["prompt"] for text in texts), row


def test_chat_is_terse_and_has_no_numbers():
    every = rows("chat.jsonl")
    assert len(every) == len({row["prompt"].lower() for row in every}) == 200
    for row in every:
        assert row.keys() == {"prompt", "answer"}
        assert not re.search(NUMBERS, f"{row['prompt']} {row['answer']}".lower()), row
        assert row["answer"] == row["answer"].strip().lower() != ""
        assert row["answer"][-1] not in ".!?"
        assert len(row["answer"].split()) < 10


def test_chat_has_no_prompt_of_a_benchmark():
    asked = {row["question"] for row in rows("facts.jsonl")} | {row["prompt"] for row in rows("instructions.jsonl")}
    for row in rows("chat.jsonl"):
        assert not any(row["prompt"].rstrip(".?") in prompt for prompt in asked)
