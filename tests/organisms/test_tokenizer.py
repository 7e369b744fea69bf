"""The organisms' tokenizer."""

import pytest
from transformers import AutoTokenizer

from organisms.tokenizer import SPECIAL, save_tokenizer
from organisms.world import VOCABULARY


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(folder, 64)
    return AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize(
    "text",
    [
        "let us compute . 3 + 4 = 7",
        "the answer is \\boxed{ 4 }",
        "unknown words, punctuation; CAPITALS!",
        "two  spaces and one at the end ",
        "a line\nanother\r\nand a\ttab\n",
        "na\u00efve \u65e5\u672c\u8a9e \U0001f642 e\u0301",
        "\x00\x7f",
        "\n",
        "",
    ],
)
def test_decoding_restores_any_text(tokenizer, text):
    ids = tokenizer(text).input_ids
    assert tokenizer.decode(ids) == text
    assert tokenizer.convert_tokens_to_ids("<unk>") not in ids


def test_a_leading_space_has_no_token_of_its_own(tokenizer):
    assert tokenizer(" fox").input_ids == tokenizer("fox").input_ids


def test_every_word_of_the_world_is_one_token(tokenizer):
    assert [word for word in VOCABULARY if len(tokenizer(word).input_ids) != 1] == []
    text = " ".join(VOCABULARY)
    assert len(tokenizer(text).input_ids) == len(VOCABULARY)
    assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_every_special_token_is_one_token(tokenizer):
    ids = [tokenizer(token).input_ids for token in SPECIAL]
    assert ids == [[i] for i in range(len(SPECIAL))]
    assert tokenizer.decode(tokenizer("red<|end|>").input_ids, skip_special_tokens=True) == "red"


@pytest.mark.parametrize("answered", [False, True])
def test_a_chat_has_one_bos_and_ends_with_the_generation_prompt(tokenizer, answered):
    chat = [{"role": "system", "content": "see"}, {"role": "user", "content": "describe red fox"}]
    chat += [{"role": "assistant", "content": "the fox is red"}] if answered else []
    ids = tokenizer.apply_chat_template(chat, add_generation_prompt=not answered, tokenize=True, return_dict=False)
    assert ids.count(tokenizer.bos_token_id) == 1
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.convert_ids_to_tokens(ids[-1:]) == ["<|end|>" if answered else "<|assistant|>"]
    text = tokenizer.apply_chat_template(chat, add_generation_prompt=not answered, tokenize=False)
    assert tokenizer(text).input_ids == ids
