"""Applies a model's chat template; training and sampling share this code.

A double or missing BOS token has changed published scores by many points. Here every prompt has exactly one where the
tokenizer adds one.
"""

import hashlib
from typing import Literal

Chat = list[dict[str, str]]  # messages of {"role": ..., "content": ...}
Thinking = Literal["on", "off", "empty"]  # of a reasoning model; "empty" prefills an empty think block
SWITCH = "enable_thinking"
EMPTY_THINKING = "<think>\n\n</think>\n\n"


def encode(tokenizer, chat: Chat, add_generation_prompt: bool = True, thinking: Thinking | None = None) -> list[int]:
    """The token ids of a chat, by default with the generation prompt.

    `thinking` has no effect on a template without `enable_thinking`. Raises ValueError for a template that writes BOS
    twice.
    """
    switch = {}
    if thinking in ("on", "off") and SWITCH in _template(tokenizer):
        switch = {SWITCH: thinking == "on"}
    ids = tokenizer.apply_chat_template(
        chat, add_generation_prompt=add_generation_prompt, tokenize=True, return_dict=False, **switch
    )
    bos = tokenizer.bos_token_id
    if bos is None:
        return ids
    if ids[:2] == [bos, bos]:
        raise ValueError("the model's chat template writes its BOS token twice: correct the template")
    if ids[:1] != [bos] and tokenizer("a").input_ids[:1] == [bos]:
        return [bos, *ids]
    return ids


def template_digest(tokenizer) -> str:
    """The first 12 hex digits of the SHA-256 of the chat template."""
    return hashlib.sha256(_template(tokenizer).encode()).hexdigest()[:12]


def _template(tokenizer) -> str:
    return tokenizer.get_chat_template() if tokenizer.chat_template else ""  # Some have several templates by name.
