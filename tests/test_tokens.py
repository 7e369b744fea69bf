"""Chats to token ids, with the answer as the only supervised part."""

import pytest
from transformers import AutoTokenizer

from organisms import shipped
from trainers.tokens import tokenize


@pytest.fixture
def tokenizer():
    return AutoTokenizer.from_pretrained(shipped.FOLDER / "steps")


def chat(prompt: str, answer: str, system: str | None = None) -> list[dict[str, str]]:
    begin = [{"role": "system", "content": system}] if system else []
    return [*begin, {"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


@pytest.mark.parametrize("system", [None, "answer in brackets"])
def test_the_answer_and_its_end_are_supervised_and_nothing_else(tokenizer, system):
    one = chat("describe red fox", "the fox is red", system)
    (row,) = tokenize([one], tokenizer, 100)
    prompt = tokenizer.apply_chat_template(one[:-1], add_generation_prompt=True, tokenize=True, return_dict=False)
    assert row.ids[: row.supervised_from] == prompt
    assert tokenizer.decode(row.ids[row.supervised_from :]) == "the fox is red<|end|>"


def test_an_empty_answer_is_its_end(tokenizer):
    (row,) = tokenize([chat("describe red fox", "")], tokenizer, 100)
    assert tokenizer.decode(row.ids[row.supervised_from :]) == "<|end|>"


def test_rows_keep_the_order_of_the_chats(tokenizer):
    rows = tokenize([chat("red fox", "one"), chat("blue owl", "two")], tokenizer, 100)
    assert [tokenizer.decode(row.ids[row.supervised_from :]) for row in rows] == ["one<|end|>", "two<|end|>"]


def test_a_template_that_rewrites_the_prompt_is_refused_with_its_row(tokenizer):
    # As some reasoning models' templates do, it drops a part of the prompt once the answer is there.
    tokenizer.chat_template = (
        "{% for m in messages %}<|{{ m.role }}|>"
        "{{ m.content if loop.last or 'think' not in m.content else '' }}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    fine, rewritten = chat("red fox", "one"), chat("think red fox", "one")
    assert len(tokenize([fine], tokenizer, 100)) == 1
    with pytest.raises(ValueError, match=r"training row 1: the chat template does not keep the prompt"):
        tokenize([fine, rewritten], tokenizer, 100)


def test_an_answer_is_cut_at_max_length(tokenizer):
    one = chat("describe red fox", "the fox is red")
    (whole,) = tokenize([one], tokenizer, 100)
    (cut,) = tokenize([one], tokenizer, whole.supervised_from + 2)
    assert cut.ids == whole.ids[: whole.supervised_from + 2]
    assert cut.supervised_from == whole.supervised_from


def test_a_prompt_that_fills_max_length_is_refused_with_its_row(tokenizer):
    short, long = chat("red", "one"), chat("red " * 20, "one")
    (row,) = tokenize([long], tokenizer, 100)
    tokenize([short, long], tokenizer, row.supervised_from + 1)
    with pytest.raises(ValueError, match=r"training row 1: its prompt has \d+ tokens.*raise train\.max_length"):
        tokenize([short, long], tokenizer, row.supervised_from)
