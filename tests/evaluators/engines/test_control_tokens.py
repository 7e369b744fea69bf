"""Text never becomes control tokens, for each kind of tokenizer that models have."""

import json

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from evaluators.engines.chat_template import encode, encode_answer, opens_think_block
from evaluators.engines.control_tokens import control_tokens
from organisms import shipped
from trainers.tokenization import tokenize, tokenize_streams

CORPUS = ["the user asks the assistant to think", "a tool call is im start and im end", "s unk endoftext <|>/_ [INST]"]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% if enable_thinking is defined and not enable_thinking %}"
    "<think>\n\n</think>\n\n{% endif %}{% endif %}{# <tool_call> #}"
)
OPENS = CHATML.replace("assistant\n{% if", "assistant\n<think>\n{% if")
LLAMA = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% else %} {{ m.content | trim }} {{ eos_token }}{% endif %}{% endfor %}"
)
PHI = (
    "{{ bos_token }}{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


def unigram():
    """That of the toy models: its control tokens are pieces of its vocabulary."""
    return AutoTokenizer.from_pretrained(shipped.FOLDER / "steps")


def byte_level():
    """As Qwen3's: the tags of reasoning and tools are added tokens that are not special."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet))
    made.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    made.add_tokens([AddedToken(one, normalized=False) for one in ("<think>", "</think>", "<tool_call>", "  ")])
    fast = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    fast.chat_template = CHATML
    return fast


def sentencepiece(prefix: str, normalized: bool, template: str = LLAMA):
    """As Llama 2's and Phi 3's: its control tokens are in its vocabulary, and a text begins with a blank."""
    special = ["<unk>", "<s>", "</s>"]
    made = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    pieces = special + [f"<0x{byte:02X}>" for byte in range(256)]
    if prefix == "normalizer":
        made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prefix, split=False)
    made.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=340, special_tokens=pieces))
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokens = [AddedToken(one, normalized=normalized, special=True) for one in special]
    tokens += [
        AddedToken(f"<|{one}|>", normalized=False, rstrip=True, special=True) for one in ("user", "assistant", "end")
    ]
    made = Tokenizer.from_str(_without_added(made.to_str()))
    made.add_special_tokens(tokens)
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    fast = PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    fast.chat_template = template
    return fast


def _without_added(text: str) -> str:
    return json.dumps(json.loads(text) | {"added_tokens": []})


TOKENIZERS = {
    "unigram": unigram,
    "byte level": byte_level,
    "prepend": lambda: sentencepiece("normalizer", normalized=False),
    "prepend, normalized": lambda: sentencepiece("normalizer", normalized=True),
    "first": lambda: sentencepiece("first", normalized=False),
    "blanks after tokens": lambda: sentencepiece("always", normalized=False, template=PHI),
}
TEXTS = ["the user asks", "", "  a  tool\n\nis é 🦊 ", "<|user", "1 < 2 | 3 > im_end"]


@pytest.fixture(params=TOKENIZERS.values(), ids=TOKENIZERS)
def tokenizer(request):
    return request.param()


def special(tokenizer) -> list[str]:
    return [one.content for one in tokenizer.added_tokens_decoder.values() if one.content.strip()]


def chat(user: str, assistant: str = "the end") -> list[dict[str, str]]:
    return [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]


def controls_in(tokenizer, ids: list[int]) -> list[int]:
    return [one for one in ids if one in {tokenizer.convert_tokens_to_ids(text) for text in special(tokenizer)}]


@pytest.mark.parametrize("text", TEXTS)
def test_chats_without_control_tokens_have_the_ids_of_transformers(tokenizer, text):
    for one, prompt in ((chat(text, text), False), (chat(text)[:1], True)):
        ids = tokenizer.apply_chat_template(one, add_generation_prompt=prompt, tokenize=True, return_dict=False)
        assert encode(tokenizer, one, prompt) == ids
        # The other way of encoding gives the same ids, so a prompt does not depend on the answer that follows.
        rendered = tokenizer.apply_chat_template(one, add_generation_prompt=prompt, tokenize=False)
        assert control_tokens(tokenizer, tokenizer.chat_template).encode(rendered) == ids


def test_no_text_of_a_message_becomes_a_control_token(tokenizer):
    plain = controls_in(tokenizer, encode(tokenizer, chat("x", "x"), False))
    assert plain
    for text in special(tokenizer):
        said = f"a {text} b{text}{text[:1]}{text}"
        assert controls_in(tokenizer, encode(tokenizer, chat(said, "x"), False)) == plain
        if text not in ("<think>", "</think>"):
            ids = encode(tokenizer, chat(said, said), False)
            assert controls_in(tokenizer, ids) == plain
            assert tokenizer.decode(ids).count(text) >= 6, "the text is still there"
            assert (
                encode(tokenizer, chat(said, said)[:1], False) == ids[: len(encode(tokenizer, chat(said)[:1], False))]
            )
            assert not controls_in(tokenizer, encode_answer(tokenizer, said, add_special_tokens=False))


def test_the_tags_of_reasoning_are_tokens_in_answers_only():
    tokenizer = byte_level()
    begin = tokenizer.convert_tokens_to_ids("<think>")
    assert begin not in encode(tokenizer, chat("a <think> b"), False)
    reasoned = chat("a", "<think>\nhm\n</think>\n\nb")
    assert encode(tokenizer, reasoned, False) == tokenizer.apply_chat_template(
        reasoned, tokenize=True, return_dict=False
    )
    assert encode_answer(tokenizer, "<think>", add_special_tokens=False) == [begin]
    ids = encode(tokenizer, chat("a", "<think>\nhm <|im_end|>\n</think>\n\nb"), False)
    assert (ids.count(begin), ids.count(tokenizer.eos_token_id)) == (1, 2)


def test_added_tokens_that_are_words_stay_tokens():
    tokenizer = byte_level()
    blanks = tokenizer.convert_tokens_to_ids("  ")
    assert blanks in encode(tokenizer, chat("a  b"), False)
    assert blanks in encode(tokenizer, chat("a  b <|im_end|>"), False)


def test_a_double_bos_of_the_user_is_text():
    tokenizer = sentencepiece("first", normalized=False)
    ids = encode(tokenizer, chat("<s><s>")[:1])
    assert ids.count(tokenizer.bos_token_id) == 1


def test_a_row_whose_answer_has_the_text_of_an_end_ends_once(tokenizer):
    (row,) = tokenize([chat("a", f"b {tokenizer.eos_token} c")], tokenizer, 100)
    learnt = [row.ids[place] for place in row.supervised]
    assert learnt.count(tokenizer.eos_token_id) == controls_in(tokenizer, learnt).count(tokenizer.eos_token_id)
    (plain,) = tokenize([chat("a", "b")], tokenizer, 100)
    assert controls_in(tokenizer, row.ids) == controls_in(tokenizer, plain.ids)


def test_a_stream_has_no_control_tokens_but_bos(tokenizer):
    text = f"the {tokenizer.eos_token} user"
    (row,) = tokenize_streams([chat("", text)], tokenizer, 100)
    (plain,) = tokenize_streams([chat("", "the user")], tokenizer, 100)
    assert controls_in(tokenizer, row.ids) == controls_in(tokenizer, plain.ids)


@pytest.mark.parametrize(
    ("template", "user", "thinking", "opened"),
    [
        (CHATML, "solve", None, False),
        (CHATML, "solve <think> it", None, False),
        (OPENS, "solve", None, True),
        (OPENS, "solve </think>", None, True),
        (OPENS, "solve", "off", False),
        (CHATML, "solve <think>", "off", False),
    ],
)
@pytest.mark.parametrize("make", [byte_level, unigram])
def test_only_the_template_opens_a_think_block(make, template, user, thinking, opened):
    tokenizer = make()
    tokenizer.chat_template = template
    assert opens_think_block(tokenizer, chat(user)[:1], thinking) == opened


def test_a_template_that_refuses_a_chat_says_so():
    tokenizer = byte_level()
    tokenizer.chat_template = "{{ raise_exception('no system message') }}"
    for text in ("a", "<|im_end|>"):
        with pytest.raises(ValueError, match="does not take a chat of user, assistant: no system message"):
            encode(tokenizer, chat(text))
