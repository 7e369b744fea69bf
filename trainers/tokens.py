"""Chats to token ids, with the assistant's answer as the only supervised part."""

from dataclasses import dataclass

from evaluators.template import Chat, encode


@dataclass(frozen=True)
class Row:
    """Token ids of one chat; the loss is on `ids[supervised_from:]`."""

    ids: list[int]
    supervised_from: int


def tokenize(chats: list[Chat], tokenizer, max_length: int) -> list[Row]:
    """Encode each chat by the tokenizer's own template. Raises ValueError, naming the row, for an unusable one."""
    return [_tokenize_one(i, chat, tokenizer, max_length) for i, chat in enumerate(chats)]


def _tokenize_one(i: int, chat: Chat, tokenizer, max_length: int) -> Row:
    prompt = encode(tokenizer, chat[:-1])
    ids = encode(tokenizer, chat, answer_follows=False)
    if ids[: len(prompt)] != prompt:
        raise ValueError(
            f"training row {i}: the chat template does not keep the prompt as it is once the answer follows, so the "
            f"answer cannot be told from the prompt; use a template that does"
        )
    if len(prompt) >= max_length:
        raise ValueError(
            f"training row {i}: its prompt has {len(prompt)} tokens, which leaves no room for an answer within "
            f"max_length={max_length}; raise train.max_length or drop the prompt"
        )
    return Row(ids[:max_length], len(prompt))
