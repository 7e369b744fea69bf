"""Asking a benchmark: examples, their ids, and their summary."""

import pytest

from evaluators.engine import Answer, Decoding, Reply
from evaluators.evaluate import chats_of, evaluate, example_id, read_examples, summary, write_examples

ROWS = [{"problem": f"{i} + {i} = ?", "answer": str(2 * i), "level": i} for i in (1, 2, 3)]
DECODING = Decoding(max_tokens=8)


def ask(chats, decoding, begin):
    """A model that always answers 4, in as many tokens as the prompt has words, after what it is made to begin with."""
    replies = []
    for i, (message,) in enumerate(chats):
        opening = begin[i] if begin else ()
        ids = (*opening, *range(len(message["content"].split())))
        replies.append(Reply((1, 2), opening, (Answer(ids, "\\boxed{4}" if i else "4", cut_off=i == 2),)))
    return replies


def test_an_id_belongs_to_the_content():
    row = {"problem": "x", "answer": "1", "level": 2}
    assert example_id("math500", dict(reversed(row.items()))) == example_id("math500", row)
    others = [example_id("olympiadbench", row), example_id("math500", {**row, "level": 3})]
    assert len({example_id("math500", row), *others}) == 3


def test_examples_are_graded_in_the_order_of_the_rows():
    examples = evaluate("math500", ROWS, ask, DECODING, "{problem}")
    assert [example.correct for example in examples] == [False, True, False]
    assert [example.found for example in examples] == [False, True, True]
    assert [example.group for example in examples] == [{"level": 1}, {"level": 2}, {"level": 3}]
    assert [example.prompt for example in examples] == [row["problem"] for row in ROWS]
    assert [example.id for example in examples] == [example_id("math500", row) for row in ROWS]


def test_every_answer_begins_with_its_own_opening():
    openings = {example_id("math500", row): (100 + i,) for i, row in enumerate(ROWS)}
    examples = evaluate("math500", ROWS, ask, DECODING, "{problem}", dict(reversed(openings.items())))
    assert [example.ids[0] for example in examples] == [100, 101, 102]
    assert [example.opening_ids for example in examples] == [(100,), (101,), (102,)]


def test_the_summary_counts_what_was_sampled():
    openings = {example_id("math500", row): (7, 7) for row in ROWS}
    figures = summary(evaluate("math500", ROWS, ask, DECODING, "{problem}", openings))
    assert figures["n"] == 3
    assert figures["accuracy"] == pytest.approx(1 / 3)
    assert figures["cut_off"] == pytest.approx(1 / 3)
    assert figures["not_found"] == pytest.approx(1 / 3)
    assert figures["tokens"] == 3 * 5
    assert figures["mean_length"] == 7


def test_an_answer_of_one_token_is_not_cut_off():
    examples = evaluate("math500", ROWS, ask, Decoding(max_tokens=1), "{problem}")
    assert not any(example.cut_off for example in examples)


def test_examples_are_read_as_they_were_written(tmp_path):
    examples = evaluate("math500", ROWS, ask, DECODING)
    write_examples(tmp_path / "examples.jsonl", examples)
    back = read_examples(tmp_path / "examples.jsonl")
    assert [(e.id, e.text, e.correct, list(e.ids), e.group) for e in back] == [
        (e.id, e.text, e.correct, list(e.ids), e.group) for e in examples
    ]


def test_a_prompt_that_names_an_absent_column_is_refused():
    with pytest.raises(ValueError, match=r"\{question\}"):
        chats_of("math500", ROWS, "{question}")
