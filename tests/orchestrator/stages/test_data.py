"""Training prompts and benchmark examples: what identifies them, and how they are read."""

import json

import pytest

from orchestrator.stages.data import (
    benchmark_data,
    load_examples,
    load_problems,
    load_prompts,
    most_prompts,
    problem_data,
    prompt_data,
    read_prompts,
)
from orchestrator.study.benchmarks import GradedBenchmark
from orchestrator.study.prompts import Problems, Prompts

ROWS = [{"instruction": f"do {i}", "input": f"with {i}" if i % 2 else "", "text": "other"} for i in range(12)]


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return str(path)


def chats(**declared) -> list:
    return load_prompts(Prompts(**declared))


def texts(**declared) -> list[str]:
    return [chat[-1]["content"] for chat in chats(**declared)]


def test_prompts_are_drawn_by_their_seed(source):
    assert sorted(texts(source=source)) == sorted(row["instruction"] for row in ROWS)
    assert texts(source=source, n=5, seed=3) == texts(source=source, seed=3)[:5]
    assert texts(source=source, seed=3) != texts(source=source, seed=4)


def test_an_input_column_is_appended_where_it_is_not_empty(source):
    expected = {f"do {i}\n\nwith {i}" if i % 2 else f"do {i}" for i in range(12)}
    assert set(texts(source=source, input_column="input")) == expected


def test_another_column_may_be_the_prompt(source):
    assert set(texts(source=source, column="text")) == {"other"}


def test_a_system_message_comes_first(source):
    with_system = chats(source=source, system="be brief")
    assert all([message["role"] for message in chat] == ["system", "user"] for chat in with_system)
    assert all(chat[0]["content"] == "be brief" for chat in with_system)
    assert all(len(chat) == 1 for chat in chats(source=source))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere\.jsonl: there is no such file"):
        prompt_data(Prompts(source=f"{tmp_path}/nowhere.jsonl"))
    with pytest.raises(ValueError, match=r"nowhere\.jsonl: there is no such file"):
        read_prompts(prompt_data(Prompts(source="a/b")), f"{tmp_path}/nowhere.jsonl")


@pytest.mark.parametrize(
    "change", [{"n": 3}, {"seed": 9}, {"system": "x"}, {"column": "text"}, {"input_column": "input"}]
)
def test_the_identity_has_everything_that_changes_the_prompts(source, change):
    assert prompt_data(Prompts(source=source, **change)) != prompt_data(Prompts(source=source))


def test_a_file_is_identified_by_its_content(source, tmp_path):
    copy = tmp_path / "copy.jsonl"
    copy.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps(ROWS[0]) + "\n")
    assert prompt_data(Prompts(source=str(copy))) == prompt_data(Prompts(source=source))
    assert prompt_data(Prompts(source=str(other))) != prompt_data(Prompts(source=source))


def test_synthetic_prompts_and_examples_have_their_own_identity(source):
    assert prompt_data(Prompts(source="synthetic", n=3)) != prompt_data(Prompts(source=source, n=3))
    sources = [
        benchmark_data(GradedBenchmark(kind="math500", source=rows, n=3)) for rows in ("synthetic", None, source)
    ]
    assert len(set(sources)) == 3


def test_the_share_of_maths_among_synthetic_prompts(source):
    plain, mixed = Prompts(source="synthetic", n=40), Prompts(source="synthetic", n=40, maths=0.05)
    assert prompt_data(plain) != prompt_data(mixed)
    assert sum(text.startswith("solve") for text in texts(source="synthetic", n=40, maths=0.05)) == 2
    with pytest.raises(ValueError, match="maths has no effect on"):
        Prompts(source=source, maths=0.05)


def test_benchmark_examples_are_drawn_by_their_seed(tmp_path):
    rows = [{"problem": f"{i}", "answer": "1", "level": 1} for i in range(20)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    read = {
        (n, seed): load_examples(GradedBenchmark(kind="math500", source=str(path), n=n, seed=seed))
        for n, seed in ((20, 0), (7, 0), (7, 1), (None, 0))
    }
    assert read[7, 0] == read[20, 0][:7] != read[7, 1]
    assert read[None, 0] == read[20, 0]
    assert sorted(read[20, 0], key=lambda row: int(row["problem"])) == rows
    with pytest.raises(ValueError, match=r"n: 21 rows are asked for, but .* has 20"):
        load_examples(GradedBenchmark(kind="math500", source=str(path), n=21))


TRAIN_AND_TEST = {
    "test": [{"question": "1 + 1 ?", "answer": "#### 2"}],
    "train": [{"question": "1 + 2 ?", "answer": "#### 3"}],
}


@pytest.mark.parametrize("source", [None, "openai/gsm8k"])
def test_a_benchmarks_own_data_set_has_its_configuration_and_problems_are_of_its_training_split(monkeypatch, source):
    def load(name, configuration, split, **_):
        assert (name, configuration) == ("openai/gsm8k", "main")
        return TRAIN_AND_TEST[split]

    monkeypatch.setattr("datasets.load_dataset", load)
    examples = GradedBenchmark(kind="gsm8k", source=source, n=1)
    problems = Problems(kind="gsm8k", source="openai/gsm8k", n=1, max_tokens=8)
    assert load_examples(examples) == TRAIN_AND_TEST["test"]
    assert load_problems(problems) == TRAIN_AND_TEST["train"]
    assert benchmark_data(examples).source == problem_data(problems).source == "hub:openai/gsm8k:main"
    assert (benchmark_data(examples).split, problem_data(problems).split) == ("test", "train")


def test_a_source_is_counted_only_where_no_number_is_declared(source, tmp_path):
    assert most_prompts(prompt_data(Prompts(source=source)), source) == 12
    assert most_prompts(prompt_data(Prompts(source="a/b", n=7)), "a/b") == 7
