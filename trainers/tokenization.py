"""Examples to token ids, and which of them are supervised.

Of a chat only the assistant's answer is supervised, and of the answer, by `loss_on`:

- `answer`: all of it, with its end;
- `after_reasoning`: what follows the last `</think>`;
- `empty_reasoning`: all but its reasoning, which is replaced by an empty block that is not supervised.

The last two are the two ways of training a reasoning model on outputs alone of "An Empirical Study of Methods for
SFTing Opaque Reasoning Models" (LessWrong, 2026).
"""

from collections.abc import Sequence
from typing import Any

from evaluators.engines.chat_template import EMPTY_THINKING, Chat, encode, encode_answer
from evaluators.engines.thinking import BEGIN, END, strip_reasoning, token_at
from trainers.rows import Row
from trainers.settings import LossOn


def tokenize(chats: Sequence[Chat], tokenizer: Any, max_length: int, loss_on: LossOn = "answer") -> list[Row]:
    """Encode each chat by the tokenizer's chat template. Raises ValueError, with the row, for unusable ones."""
    if not tokenizer.chat_template:
        raise ValueError("the model's tokenizer has no chat template, so chats cannot be encoded: add one")
    return [_row(f"training row {i}", one, tokenizer, max_length, loss_on) for i, one in enumerate(chats)]


def _row(name: str, chat: Chat, tokenizer: Any, max_length: int, loss_on: LossOn) -> Row:
    if loss_on == "empty_reasoning":
        if BEGIN in chat[-1]["content"] and END not in chat[-1]["content"]:
            raise ValueError(f"{name}: its reasoning never ends, so there is no answer after it to learn; drop the row")
        content = EMPTY_THINKING + strip_reasoning(chat[-1]["content"], prompt_opens_think_block=False)
        chat = [*chat[:-1], {**chat[-1], "content": content}]
    prompt = encode(tokenizer, chat[:-1])
    ids = encode(tokenizer, chat, add_generation_prompt=False)
    if ids == prompt or ids == encode(tokenizer, chat[:-1], add_generation_prompt=False):
        raise ValueError(
            f"{name}: the chat template writes nothing for an assistant's message, so there is no answer to learn; use "
            f"a template with an assistant part"
        )
    if ids[: len(prompt)] != prompt:
        raise ValueError(
            f"{name}: the chat template changes the prompt when the answer follows, so the answer's tokens cannot be "
            f"located; use a template that keeps the prompt"
        )
    if len(prompt) >= max_length:
        raise ValueError(
            f"{name}: its prompt has {len(prompt)} tokens, which leaves no room for an answer within "
            f"max_length={max_length}; raise train.max_length or drop the prompt"
        )
    begin = len(prompt)
    if END in chat[-1]["content"] and END not in tokenizer.decode(ids[begin:]):
        raise ValueError(
            f"{name}: the chat template removes the reasoning of an assistant's message, so the student would learn "
            f"the answer alone; use a student whose template keeps it, as Qwen3's does"
        )
    if loss_on != "answer":
        begin += _after_reasoning(name, ids[begin:], tokenizer)
    if begin >= min(len(ids), max_length):
        raise ValueError(
            f"{name}: with loss_on={loss_on} none of its tokens within max_length={max_length} is supervised; raise "
            f"train.max_length or drop the row"
        )
    return Row(ids[:max_length], range(begin, min(len(ids), max_length)))


def _after_reasoning(name: str, answer: list[int], tokenizer: Any) -> int:
    """The position of the first token after the reasoning and the white space that follows it."""
    text = tokenizer.decode(answer)
    _, end, after = text.rpartition(END)
    if not end:
        raise ValueError(
            f"{name}: its answer has no {END}, so nothing follows its reasoning; drop the row, or learn from the whole "
            f"answer (train.loss_on: answer)"
        )
    character = len(text) - len(after.lstrip())
    return token_at(answer, character, tokenizer.decode)


def tokenize_streams(chats: Sequence[Chat], tokenizer: Any, max_length: int) -> list[Row]:
    """Encode each answer as plain text, without its prompt and a chat template. All tokens but the first are
    supervised. Raises ValueError, with the row, for one of fewer than two tokens."""
    rows = []
    for i, chat in enumerate(chats):
        ids = encode_answer(tokenizer, chat[-1]["content"], add_special_tokens=True)[:max_length]
        if len(ids) < 2:
            raise ValueError(f"training row {i}: a stream of {len(ids)} tokens has no next token to learn: drop it")
        rows.append(Row(ids, range(1, len(ids))))
    return rows
