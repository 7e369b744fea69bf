"""Chats to token ids by a model's own template: the one place where that is done, for training and for asking alike.

A BOS token that is doubled, or missing, moved published scores by many points, so here there is exactly one wherever
the tokenizer begins a text with one.
"""

import hashlib
from typing import Literal

Chat = list[dict[str, str]]  # messages of {"role": ..., "content": ...}
Thinking = Literal["on", "off", "empty"]  # of a reasoning model; "empty" puts an empty block into its mouth
SWITCH = "enable_thinking"
EMPTY_THINKING = "<think>\n\n</think>\n\n"


def encode(tokenizer, chat: Chat, answer_follows: bool = True, thinking: Thinking | None = None) -> list[int]:
    """Token ids of a chat, by default up to where the assistant's answer begins.

    A template without a switch for thinking is used as it is. Raises ValueError for one that writes its BOS twice.
    """
    switch = {}
    if thinking in ("on", "off") and SWITCH in _template(tokenizer):
        switch = {SWITCH: thinking == "on"}
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
    return hashlib.sha256(_template(tokenizer).encode()).hexdigest()[:12]


def _template(tokenizer) -> str:
    return tokenizer.get_chat_template() if tokenizer.chat_template else ""  # Some have several, by name.
