"""Examples to token ids, and which of them are supervised."""

import importlib.util
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from evaluators.engines.chat_template import Chat, encode
from organisms import shipped
from trainers.tokenization import tokenize, tokenize_streams

# As in Qwen3: the last answer gets a block of reasoning, an empty one where it has none.
WRITES_BLOCK = (
    "{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' and loop.last %}"
    "{% set parts = m.content.split('</think>') %}<think>\n"
    "{{ parts[0].split('<think>')[-1].strip('\n') if parts | length > 1 else '' }}"
    "\n</think>\n\n{{ parts[-1].lstrip('\n') }}"
    "{% else %}{{ m.content }}{% endif %}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
# As in Qwen3's models that always reason: the prompt opens the block.
OPENS_BLOCK = WRITES_BLOCK.replace("<|assistant|>{% endif %}", "<|assistant|><think>\n{% endif %}")
NO_ASSISTANT = (
    "{% for m in messages %}{% if m.role != 'assistant' %}<|{{ m.role }}|>{{ m.content }}{% endif %}{% endfor %}"
)
# As some reasoning models' templates do, it drops a part of the prompt when the answer follows.
REWRITES_PROMPT = (
    "{% for m in messages %}<|{{ m.role }}|>"
    "{{ m.content if loop.last or 'think' not in m.content else '' }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture
def tokenizer():
    return AutoTokenizer.from_pretrained(shipped.FOLDER / "steps")


def example(prompt: str, answer: str, system: str | None = None) -> Chat:
    begin = [{"role": "system", "content": system}] if system else []
    return [*begin, {"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


def learnt(tokenizer, row) -> str:
    """The supervised tokens as text."""
    return tokenizer.decode([row.ids[place] for place in row.supervised])


def seen(tokenizer, row) -> str:
    """What lies between the prompt and the supervised tokens, as text."""
    begin = row.ids.index(tokenizer.convert_tokens_to_ids("<|assistant|>")) + 1
    return tokenizer.decode(row.ids[begin : row.supervised[0]])


@pytest.mark.parametrize("system", [None, "answer in brackets"])
def test_the_answer_and_its_end_are_supervised_and_nothing_else(tokenizer, system):
    one = example("describe red fox", "the fox is red", system)
    (row,) = tokenize([one], tokenizer, 100)
    prompt = tokenizer.apply_chat_template(one[:-1], add_generation_prompt=True, tokenize=True, return_dict=False)
    assert row.ids[: row.supervised[0]] == prompt
    assert learnt(tokenizer, row) == "the fox is red<|end|>"
    assert list(row.supervised) == list(range(len(prompt), len(row.ids)))


def test_only_the_last_answer_is_supervised(tokenizer):
    before, after = example("red fox", "one"), example("blue owl", "two")
    (row,) = tokenize([[*before, *after]], tokenizer, 100)
    assert learnt(tokenizer, row) == "two<|end|>"


def test_of_an_empty_answer_the_end_is_supervised(tokenizer):
    (row,) = tokenize([example("describe red fox", "")], tokenizer, 100)
    assert learnt(tokenizer, row) == "<|end|>"


def test_rows_keep_the_order_of_the_chats(tokenizer):
    rows = tokenize([example("red fox", "one"), example("blue owl", "two")], tokenizer, 100)
    assert [learnt(tokenizer, row) for row in rows] == ["one<|end|>", "two<|end|>"]


def test_the_reasoning_of_an_answer_is_supervised(tokenizer):
    (row,) = tokenize([example("red fox", "<think>\nhmm\n</think>\n\nred")], tokenizer, 100)
    assert learnt(tokenizer, row) == "<think>\nhmm\n</think>\n\nred<|end|>"


@pytest.mark.parametrize("template", [None, WRITES_BLOCK, OPENS_BLOCK], ids=["as it is", "writes block", "opens block"])
@pytest.mark.parametrize("answer", ["red", "é red"])
def test_after_reasoning_supervises_only_what_follows_the_reasoning(tokenizer, template, answer):
    tokenizer.chat_template = template or tokenizer.chat_template
    reasoned = f"<think>\nhmm\n</think>\n\n{answer}"
    (row,) = tokenize([example("red fox", reasoned)], tokenizer, 100, "after_reasoning")
    assert learnt(tokenizer, row) == f"{answer}<|end|>"
    assert seen(tokenizer, row) == "<think>\nhmm\n</think>\n\n"


def test_after_reasoning_supports_prompts_that_open_the_block(tokenizer):
    # The engine's answer does not contain the <think> of the prompt.
    tokenizer.chat_template = OPENS_BLOCK
    (row,) = tokenize([example("red fox", "hmm\n</think>\n\nred")], tokenizer, 100, "after_reasoning")
    assert (learnt(tokenizer, row), seen(tokenizer, row)) == ("red<|end|>", "<think>\nhmm\n</think>\n\n")


def test_after_reasoning_uses_the_last_end_of_reasoning(tokenizer):
    (row,) = tokenize([example("red fox", "a</think> no </think> red")], tokenizer, 100, "after_reasoning")
    assert learnt(tokenizer, row) == "red<|end|>"


@pytest.mark.parametrize("template", [None, WRITES_BLOCK, OPENS_BLOCK], ids=["as it is", "writes block", "opens block"])
@pytest.mark.parametrize("answer", ["red", "<think>\nhmm\n</think>\n\nred", "<think>\n\n</think>\n\nred"])
def test_an_empty_block_replaces_reasoning_and_is_not_supervised(tokenizer, template, answer):
    tokenizer.chat_template = template or tokenizer.chat_template
    (row,) = tokenize([example("red fox", answer)], tokenizer, 100, "empty_reasoning")
    assert learnt(tokenizer, row) == "red<|end|>"
    assert seen(tokenizer, row) == "<think>\n\n</think>\n\n"


def test_qwen3_learns_the_same_tokens_after_the_teachers_reasoning_and_after_an_empty_block(tokenizer):
    """`outputs only` and `empty reasoning` of experiments/offmodel-reasoning.yaml differ in what comes before them."""
    folder = importlib.util.find_spec("trl").submodule_search_locations[0]
    tokenizer.chat_template = Path(folder, "chat_templates", "qwen3.jinja").read_text()
    reasoned, bare = example("red fox", "<think>\nhmm\n</think>\n\nred"), example("red fox", "red")
    begin = len(encode(tokenizer, reasoned[:-1]))

    def parts(one: Chat, loss_on: str) -> tuple[str, str]:
        """What follows the prompt without a loss, and with one."""
        (row,) = tokenize([one], tokenizer, 500, loss_on)
        return tokenizer.decode(row.ids[begin : row.supervised[0]]), learnt(tokenizer, row)

    empty, whole, answer = "<think>\n\n</think>\n\n", "<think>\nhmm\n</think>\n\n", "red<|im_end|>\n"
    assert parts(reasoned, "after_reasoning") == (whole, answer)
    assert parts(reasoned, "empty_reasoning") == parts(bare, "empty_reasoning") == (empty, answer)
    # The answer of a teacher without reasoning gets an empty block, which plain off-model SFT learns too.
    assert parts(bare, "answer") == ("", empty + answer)
    assert parts(reasoned, "answer") == ("", whole + answer)


def test_an_answer_is_truncated_at_max_length(tokenizer):
    one = example("describe red fox", "the fox is red")
    (whole,) = tokenize([one], tokenizer, 100)
    begin = whole.supervised[0]
    (cut,) = tokenize([one], tokenizer, begin + 2)
    assert cut.ids == whole.ids[: begin + 2]
    assert list(cut.supervised) == [begin, begin + 1]


def refused(tokenizer, rows: list[Chat], why: str, max_length: int = 100, loss_on: str = "answer") -> None:
    with pytest.raises(ValueError, match=why):
        tokenize(rows, tokenizer, max_length, loss_on)


def test_a_prompt_that_fills_max_length_is_refused_with_its_row(tokenizer):
    rows = [example("red", "one"), example("red " * 20, "one")]
    begin = tokenize(rows, tokenizer, 100)[1].supervised[0]
    tokenize(rows, tokenizer, begin + 1)
    refused(tokenizer, rows, r"training row 1: its prompt has \d+ tokens.*raise train\.max_length", begin)


def test_an_answer_truncated_within_its_reasoning_is_refused_with_its_row(tokenizer):
    rows = [example("red", "a</think> red"), example("red", "<think>\n" + "hmm " * 9 + "</think> red")]
    begin = tokenize(rows, tokenizer, 100, "after_reasoning")[1].supervised[0]
    tokenize(rows, tokenizer, begin + 1, "after_reasoning")
    why = rf"training row 1: with loss_on=after_reasoning none .* within max_length={begin} .*raise train\.max_length"
    refused(tokenizer, rows, why, begin, "after_reasoning")


def test_after_reasoning_refuses_an_answer_without_reasoning_with_its_row(tokenizer):
    rows = [example("red", "a</think> red"), example("red", "<think>\nhmm")]
    refused(tokenizer, rows, "training row 1: its answer has no </think>", loss_on="after_reasoning")


def test_a_tokenizer_without_a_chat_template_is_refused(tokenizer):
    tokenizer.chat_template = None
    refused(tokenizer, [example("red", "one")], "the model's tokenizer has no chat template")


@pytest.mark.parametrize("opening", ["", "{% if add_generation_prompt %}<|assistant|>{% endif %}"])
def test_a_template_that_writes_no_answers_is_refused_with_the_row(tokenizer, opening):
    tokenizer.chat_template = NO_ASSISTANT + opening
    refused(tokenizer, [example("red", "one")], "training row 0: the chat template writes nothing for an assistant's")


def test_a_template_that_rewrites_the_prompt_is_refused_with_the_row(tokenizer):
    tokenizer.chat_template = REWRITES_PROMPT
    fine, rewritten = example("red fox", "one"), example("think red fox", "one")
    assert len(tokenize([fine], tokenizer, 100)) == 1
    refused(tokenizer, [fine, rewritten], "training row 1: the chat template changes the prompt")


def test_a_token_stream_is_the_answer_alone_and_all_but_its_first_token_are_supervised(tokenizer):
    (row,) = tokenize_streams([example("never told", "the fox is red", "nor this")], tokenizer, 100)
    assert row.ids == tokenizer("the fox is red").input_ids
    assert list(row.supervised) == list(range(1, len(row.ids)))


def test_a_token_stream_is_truncated_at_max_length(tokenizer):
    (row,) = tokenize_streams([example("", "the fox is red")], tokenizer, 3)
    assert row.ids == tokenizer("the fox is red").input_ids[:3]
    assert list(row.supervised) == [1, 2]


@pytest.mark.parametrize("text", ["", "red"])
def test_a_token_stream_that_is_too_short_is_refused_with_its_row(tokenizer, text):
    with pytest.raises(ValueError, match=rf"training row 1: a stream of {len(text) // 3} tokens"):
        tokenize_streams([example("", "red fox"), example("", text)], tokenizer, 100)


@pytest.mark.parametrize("loss_on", ["answer", "after_reasoning"])
def test_a_template_that_removes_reasoning_is_refused(tokenizer, loss_on):
    whole = example("one", "<think> two </think> three")
    assert len(tokenize([whole], tokenizer, 100, loss_on)) == 1
    # As in the distillations of DeepSeek-R1.
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "message.content", "message.content.split('</think>')[-1]"
    )
    with pytest.raises(ValueError, match="training row 0: the chat template removes the reasoning"):
        tokenize([whole], tokenizer, 100, loss_on)
    assert len(tokenize([example("one", "three")], tokenizer, 100)) == 1
