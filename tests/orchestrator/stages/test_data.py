"""Training prompts and benchmark rows, from where a study says."""

import json

import pytest

from orchestrator.stages.data import prompts_identity, read_benchmark, read_prompts, rows_identity
from orchestrator.study.schema import Benchmark, Prompts

ROWS = [{"instruction": f"do {i}", "input": f"with {i}" if i % 2 else "", "text": "other"} for i in range(12)]


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return str(path)


def texts(**settings) -> list[str]:
    return [chat[-1]["content"] for chat in read_prompts(Prompts(**settings))]


def test_prompts_are_drawn_by_their_seed(source):
    assert sorted(texts(source=source)) == sorted(row["instruction"] for row in ROWS)
    assert texts(source=source, n=5, seed=3) == texts(source=source, seed=3)[:5]
    assert texts(source=source, seed=3) != texts(source=source, seed=4)


def test_an_input_is_appended_where_there_is_one(source):
    expected = {f"do {i}\n\nwith {i}" if i % 2 else f"do {i}" for i in range(12)}
    assert set(texts(source=source, input_column="input")) == expected


def test_another_column_may_be_the_prompt(source):
    assert set(texts(source=source, column="text")) == {"other"}


def test_a_system_message_stands_first(source):
    chats = read_prompts(Prompts(source=source, system="be brief"))
    assert all([message["role"] for message in chat] == ["system", "user"] for chat in chats)
    assert all(chat[0]["content"] == "be brief" for chat in chats)
    assert all(len(chat) == 1 for chat in read_prompts(Prompts(source=source)))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere\.jsonl: there is no such file"):
        read_prompts(Prompts(source=f"{tmp_path}/nowhere.jsonl"))


@pytest.mark.parametrize(
    "change", [{"n": 3}, {"seed": 9}, {"system": "x"}, {"column": "text"}, {"input_column": "input"}]
)
def test_what_changes_the_prompts_is_in_their_identity(source, change):
    assert prompts_identity(Prompts(source=source, **change)) != prompts_identity(Prompts(source=source))


def test_organism_prompts_and_rows_have_their_own_identity(source):
    own = prompts_identity(Prompts(source="synthetic", n=3))
    assert own != prompts_identity(Prompts(source=source, n=3))
    kinds = [Benchmark(kind="math500", source=rows, n=3) for rows in ("synthetic", None, source)]
    identities = [json.dumps(rows_identity(benchmark), sort_keys=True) for benchmark in kinds]
    assert len(set(identities)) == 3


def test_maths_among_the_prompts_is_in_their_identity_and_none_leaves_it_as_it_was(source):
    plain, mixed = Prompts(source="synthetic", n=40), Prompts(source="synthetic", n=40, maths=0.05)
    assert prompts_identity(plain) == {"n": 40, "seed": 0, "system": None, "source": "synthetic", "world": 1}
    assert prompts_identity(mixed) == {**prompts_identity(plain), "maths": 0.05}
    assert sum(text.startswith("solve") for text in texts(source="synthetic", n=40, maths=0.05)) == 2
    with pytest.raises(ValueError, match="maths has no effect on"):
        Prompts(source=source, maths=0.05)


def test_benchmark_rows_are_drawn_by_their_seed(tmp_path):
    rows = [{"problem": f"{i}", "answer": "1", "level": 1} for i in range(20)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    read = {
        (n, seed): read_benchmark(Benchmark(kind="math500", source=str(path), n=n, seed=seed))
        for n, seed in ((20, 0), (7, 0), (7, 1))
    }
    assert read[7, 0] == read[20, 0][:7] != read[7, 1]
    assert sorted(read[20, 0], key=lambda row: int(row["problem"])) == rows
