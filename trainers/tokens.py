"""Examples to token ids, and which of them are learnt from.

Of a chat only the assistant's answer is supervised, and of that, by `loss_on`:

- `answer`: all of it, with its end;
- `after_reasoning`: what follows the last `</think>`;
- `empty_reasoning`: all but its reasoning, in whose place an empty block is put that is not supervised.

The last two are the two ways of training a reasoning model on outputs alone of "An Empirical Study of Methods for
SFTing Opaque Reasoning Models" (LessWrong, 2026).
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Optional

from evaluators.engines.chat_template import EMPTY_THINKING, Chat, encode
from evaluators.engines.thinking import BEGIN, END, strip_reasoning

if TYPE_CHECKING:
    from trainers.settings import LearnFrom


@dataclass(frozen=True)
class Example:
    """A chat to learn from, which ends in the assistant's answer, and what its loss is multiplied by."""

    chat: Chat
    weight: float = 1.0


@dataclass(frozen=True)
class Row:
    """Token ids of one row; the loss is on those at the places `supervised`, none of them the first.

    `columns` hold what the objective needs beside each supervised token. `reference` is the row that a teacher sees in
    its place; it ends in the same supervised tokens.
    """

    ids: Sequence[int]
    supervised: Sequence[int]
    weight: float = 1.0
    columns: dict[str, list[float]] = field(default_factory=dict)
    reference: Optional["Row"] = None


def tokenize(examples: Sequence[Example], tokenizer, max_length: int, loss_on: "LearnFrom" = "answer") -> list[Row]:
    """Encode each chat by the tokenizer's own template. Raises ValueError, naming the row, for an unusable one."""
    if not tokenizer.chat_template:
        raise ValueError("the model's tokenizer has no chat template, so chats cannot be told to it: give it one")
    return [_row(f"training row {i}", one, tokenizer, max_length, loss_on) for i, one in enumerate(examples)]


def _row(name: str, example: Example, tokenizer, max_length: int, loss_on: "LearnFrom") -> Row:
    chat = example.chat
    if loss_on == "empty_reasoning":
        if BEGIN in chat[-1]["content"] and END not in chat[-1]["content"]:
            raise ValueError(
                f"{name}: its reasoning never ends, so there is no answer beside it to learn; drop the row"
            )
        said = EMPTY_THINKING + strip_reasoning(chat[-1]["content"], prompt_opens_think_block=False)
        chat = [*chat[:-1], {**chat[-1], "content": said}]
    prompt = encode(tokenizer, chat[:-1])
    ids = encode(tokenizer, chat, answer_follows=False)
    if ids == prompt or ids == encode(tokenizer, chat[:-1], answer_follows=False):
        raise ValueError(
            f"{name}: the chat template writes nothing for an assistant's message, so there is no answer to learn; use "
            f"a template with an assistant part"
        )
    if ids[: len(prompt)] != prompt:
        raise ValueError(
            f"{name}: the chat template does not keep the prompt as it is once the answer follows, so the answer "
            f"cannot be told from the prompt; use a template that does"
        )
    if len(prompt) >= max_length:
        raise ValueError(
            f"{name}: its prompt has {len(prompt)} tokens, which leaves no room for an answer within "
            f"max_length={max_length}; raise train.max_length or drop the prompt"
        )
    begin = len(prompt)
    if loss_on != "answer":
        begin += _after_reasoning(name, ids[begin:], tokenizer)
    if begin >= min(len(ids), max_length):
        raise ValueError(
            f"{name}: nothing of it is supervised within max_length={max_length} tokens when learning from "
            f"{loss_on}; raise train.max_length or drop the row"
        )
    return Row(ids[:max_length], range(begin, min(len(ids), max_length)), example.weight)


def _after_reasoning(name: str, answer: list[int], tokenizer) -> int:
    """The place of the first token after the reasoning, and after the blanks that follow it."""
    text = tokenizer.decode(answer)
    _, end, after = text.rpartition(END)
    if not end:
        raise ValueError(
            f"{name}: its answer has no {END}, so nothing follows its reasoning; drop the row, or learn from the whole "
            f"answer (train.loss_on: answer)"
        )
    character = len(text) - len(after.lstrip())
    return bisect_left(range(len(answer)), character + 1, key=lambda i: len(tokenizer.decode(answer[: i + 1])))


def streams(examples: Sequence[Example], tokenizer, max_length: int) -> list[Row]:
    """Every answer as a plain stream of tokens, without its prompt and without a template; all but the first are
    supervised. Raises ValueError, naming the row, for one of fewer than two tokens."""
    rows = []
    for i, example in enumerate(examples):
        ids = tokenizer(example.chat[-1]["content"]).input_ids[:max_length]
        if len(ids) < 2:
            raise ValueError(f"training row {i}: a stream of {len(ids)} tokens has none that follows another: drop it")
        rows.append(Row(ids, range(1, len(ids)), example.weight))
    return rows
