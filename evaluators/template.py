"""Chats to token ids by a model's own template: the one place where that is done, for training and for asking alike.

A BOS token that is doubled, or missing, moved published scores by many points, so here there is exactly one wherever
the tokenizer begins a text with one.
"""

import hashlib
from typing import Literal

Chat = list[dict[str, str]]  # messages of {"role": ..., "content": ...}
Thinking = Literal["on", "off", "empty"]  # of a reasoning model; "empty" puts an empty block into its mouth
EMPTY_THINKING = "<think>\n\n</think>\n\n"


def encode(tokenizer, chat: Chat, answer_follows: bool = True, thinking: Thinking | None = None) -> list[int]:
    """Token ids of a chat, by default up to where the assistant's answer begins.

    Raises ValueError for a template that writes its BOS token twice, or that knows no switch for thinking.
    """
    switch = {}
    if thinking in ("on", "off"):
        if "enable_thinking" not in (tokenizer.chat_template or ""):
            raise ValueError(
                f"thinking: the model's chat template has no switch to turn it {thinking}: leave `thinking` out, or "
                f"use `empty`, which puts an empty block of reasoning before the answer"
            )
        switch = {"enable_thinking": thinking == "on"}
    ids = tokenizer.apply_chat_template(
        chat, add_generation_prompt=answer_follows, tokenize=True, return_dict=False, **switch
    )
    bos = tokenizer.bos_token_id
    if bos is None:
        return ids
    if ids[:2] == [bos, bos]:
        raise ValueError("the model's chat template writes its BOS token twice: mend the template")
    if ids[:1] != [bos] and tokenizer("a").input_ids[:1] == [bos]:
        return [bos, *ids]
    return ids


def template_digest(tokenizer) -> str:
    """Twelve hex digits that belong to the chat template."""
    return hashlib.sha256((tokenizer.chat_template or "").encode()).hexdigest()[:12]
