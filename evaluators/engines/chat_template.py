"""Applies a model's chat template; training and sampling share this code.

A double or missing BOS token has changed published scores by many points. Here every prompt has exactly one where the
tokenizer adds one. The text of a message never becomes control tokens, see `control_tokens.py`.
"""

import hashlib
from typing import Any, Literal

from evaluators.engines.control_tokens import control_tokens
from evaluators.engines.thinking import BEGIN, END

Chat = list[dict[str, str]]  # messages of {"role": ..., "content": ...}
Thinking = Literal["on", "off", "empty"]  # of a reasoning model; "empty" prefills an empty think block
SWITCH = "enable_thinking"
EMPTY_THINKING = "<think>\n\n</think>\n\n"


def encode(tokenizer, chat: Chat, add_generation_prompt: bool = True, thinking: Thinking | None = None) -> list[int]:
    """The token ids of a chat, by default with the generation prompt.

    `thinking` has no effect on a template without `enable_thinking`. Raises ValueError for a template that writes BOS
    twice, and for one that does not take the chat.
    """
    shown = _with_placeholders(tokenizer, chat)
    if shown == chat or not tokenizer.is_fast:
        ids = _apply(tokenizer, chat, add_generation_prompt, thinking, tokenize=True)
    else:
        text = _apply(tokenizer, shown, add_generation_prompt, thinking, tokenize=False)
        ids = control_tokens(tokenizer, _template(tokenizer)).encode(text)
    bos = tokenizer.bos_token_id
    if bos is None:
        return ids
    if ids[:2] == [bos, bos]:
        raise ValueError("the model's chat template writes its BOS token twice: correct the template")
    if ids[:1] != [bos] and tokenizer("a").input_ids[:1] == [bos]:
        return [bos, *ids]
    return ids


def encode_answer(tokenizer, text: str, add_special_tokens: bool) -> list[int]:
    """The token ids of a model's text without a chat template."""
    control = control_tokens(tokenizer, _template(tokenizer))
    shown = control.with_placeholders(text, of_assistant=True)
    if shown == text or not tokenizer.is_fast:
        return tokenizer(text, add_special_tokens=add_special_tokens).input_ids
    return control.encode(shown, add_special_tokens)


def opens_think_block(tokenizer, chat: Chat, thinking: Thinking | None = None) -> bool:
    """Whether the generation prompt ends inside a `<think>` block: the tags in messages do not count."""
    shown = _with_placeholders(tokenizer, chat)
    prompt, without = (_apply(tokenizer, shown, add, thinking, tokenize=False) for add in (True, False))
    written = prompt.removeprefix(without)
    return written.rfind(BEGIN) > written.rfind(END)


def switch(tokenizer, thinking: Thinking | None) -> dict[str, bool]:
    """The argument of a chat template that turns reasoning on or off; none where the template has no such switch."""
    if thinking in ("on", "off") and SWITCH in _template(tokenizer):
        return {SWITCH: thinking == "on"}
    return {}


def may_reason(tokenizer, thinking: Thinking | None) -> bool:
    """Whether completions may begin with reasoning: it is turned on, or the template knows of it and it is not off."""
    is_off = thinking == "empty" or (thinking == "off" and switch(tokenizer, thinking))
    return thinking == "on" or (END in _template(tokenizer) and not is_off)


def template_digest(tokenizer) -> str:
    """The first 12 hex digits of the SHA-256 of the chat template."""
    return hashlib.sha256(_template(tokenizer).encode()).hexdigest()[:12]


def _template(tokenizer) -> str:
    return tokenizer.get_chat_template() if tokenizer.chat_template else ""  # Some have several templates by name.


def _with_placeholders(tokenizer, chat: Chat) -> Chat:
    control = control_tokens(tokenizer, _template(tokenizer))
    return [
        {**one, "content": control.with_placeholders(one["content"], of_assistant=one["role"] == "assistant")}
        for one in chat
    ]


def _apply(tokenizer, chat: Chat, add_generation_prompt: bool, thinking: Thinking | None, tokenize: bool) -> Any:
    options = {"add_generation_prompt": add_generation_prompt, "tokenize": tokenize, "return_dict": False}
    try:
        return tokenizer.apply_chat_template(chat, **options, **switch(tokenizer, thinking))
    except Exception as error:  # A template may raise anything.
        roles = ", ".join(one["role"] for one in chat)
        raise ValueError(f"the model's chat template does not take a chat of {roles}: {error}") from error
