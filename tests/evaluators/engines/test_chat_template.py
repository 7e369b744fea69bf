"""Chat templates: exactly one BOS token for each kind of template, and the switch for thinking."""

from pathlib import Path

import pytest

from evaluators.engines.chat_template import encode, template_digest
from organisms.tokenizer import save_tokenizer

CHAT = [{"role": "system", "content": "compute"}, {"role": "user", "content": "solve"}]
TURN = "<|{{ message.role }}|>{{ message.content }}<|end|>"
LOOP = "{% for message in messages %}" + TURN + "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
THINKING = LOOP + "{% if enable_thinking is defined and not enable_thinking %}see{% endif %}"
# How model families write BOS: by name (Llama 3, Gemma, Mistral), as text, before the first turn only, or not at all,
# with a tokenizer that adds it or a tokenizer without BOS (Qwen).
TEMPLATES = {
    "by name": "{{ bos_token }}" + LOOP,
    "as text": "<s>" + LOOP,
    "before the first turn": LOOP.replace(TURN, "{% if loop.first %}{{ bos_token }}{% endif %}" + TURN),
}


@pytest.fixture
def tokenizer(tmp_path: Path):
    """A tokenizer that adds BOS to every text, as those of Llama and Gemma do."""
    from transformers import AutoTokenizer

    save_tokenizer(tmp_path, 128)
    made = AutoTokenizer.from_pretrained(tmp_path)
    from tokenizers.processors import TemplateProcessing

    made.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", made.bos_token_id)]
    )
    assert made("solve").input_ids[0] == made.bos_token_id
    return made


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
@pytest.mark.parametrize("add_generation_prompt", [True, False])
def test_there_is_exactly_one_bos(tokenizer, template, add_generation_prompt):
    tokenizer.chat_template = template
    ids = encode(tokenizer, CHAT, add_generation_prompt)
    assert ids[0] == tokenizer.bos_token_id
    assert ids.count(tokenizer.bos_token_id) == 1


def test_a_bos_that_the_template_lacks_is_added(tokenizer):
    tokenizer.chat_template = LOOP
    without = tokenizer.apply_chat_template(CHAT, add_generation_prompt=True, tokenize=True, return_dict=False)
    assert encode(tokenizer, CHAT) == [tokenizer.bos_token_id, *without]


def test_no_bos_is_added_where_the_tokenizer_adds_none(tokenizer):
    tokenizer.chat_template = LOOP
    tokenizer.backend_tokenizer.post_processor = None
    ids = encode(tokenizer, CHAT)
    assert tokenizer.bos_token_id not in ids


def test_a_double_bos_is_refused(tokenizer):
    tokenizer.chat_template = "<s>{{ bos_token }}" + LOOP
    with pytest.raises(ValueError, match="twice"):
        encode(tokenizer, CHAT)


def test_the_template_switches_thinking(tokenizer):
    tokenizer.chat_template = THINKING
    on, off = encode(tokenizer, CHAT, thinking="on"), encode(tokenizer, CHAT, thinking="off")
    assert encode(tokenizer, CHAT) == on
    assert off[: len(on)] == on
    assert len(off) == len(on) + 1


def test_a_template_without_a_switch_is_unchanged(tokenizer):
    tokenizer.chat_template = LOOP
    for thinking in ("on", "off", "empty"):
        assert encode(tokenizer, CHAT, thinking=thinking) == encode(tokenizer, CHAT)


def test_of_several_templates_the_default_is_used(tokenizer):
    tokenizer.chat_template = LOOP
    alone, digest = encode(tokenizer, CHAT), template_digest(tokenizer)
    tokenizer.chat_template = {"default": LOOP, "tool_use": THINKING}
    assert (encode(tokenizer, CHAT), template_digest(tokenizer)) == (alone, digest)


def test_the_digest_depends_on_the_template(tokenizer):
    tokenizer.chat_template = LOOP
    digest = template_digest(tokenizer)
    assert template_digest(tokenizer) == digest
    tokenizer.chat_template = THINKING
    assert template_digest(tokenizer) != digest
