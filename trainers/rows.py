"""What a training learns from: completions that the student samples, and rows of token ids."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Optional

from evaluators.engines.chat_template import Chat


@dataclass(frozen=True)
class Row:
    """The token ids of one row. The loss is on those at the positions `supervised`, which never include the first.

    `columns` hold further numbers for each supervised token. `reference` is the row that the reference model sees
    in place of this one; it ends in the same supervised tokens.
    """

    ids: Sequence[int]
    supervised: Sequence[int]
    weight: float = 1.0
    columns: dict[str, list[float]] = field(default_factory=dict)
    reference: Optional["Row"] = None


@dataclass(frozen=True)
class Rollout:
    """The student's completions for the prompt of a chat, as token ids, and their rewards if they get any."""

    chat: Chat
    prompt_ids: Sequence[int]
    completions: Sequence[Sequence[int]]
    rewards: Sequence[float] | None = None


def prompt_of(chat: Chat) -> Chat:
    """A chat without the assistant's answer, if it ends in one."""
    return chat[:-1] if chat[-1]["role"] == "assistant" else chat


def completion_row(prompt_ids: Sequence[int], completion_ids: Sequence[int], skip: int = 0) -> Row:
    """A completion after its prompt, without a loss on the prompt and on the first `skip` tokens of the completion."""
    begin = len(prompt_ids)
    return Row([*prompt_ids, *completion_ids], range(begin + skip, begin + len(completion_ids)))


def truncate(row: Row, max_length: int) -> Row:
    """The part of a row that lies within the length, both in the row and in what the reference model sees."""
    if row.reference is None:
        kept = sum(place < max_length for place in row.supervised)
    else:
        pairs = zip(row.supervised, row.reference.supervised, strict=True)
        kept = sum(max(place, seen) < max_length for place, seen in pairs)
        reference = row.reference
        row = replace(
            row, reference=replace(reference, ids=reference.ids[:max_length], supervised=reference.supervised[:kept])
        )
    columns = {name: values[:kept] for name, values in row.columns.items()}
    return replace(row, ids=row.ids[:max_length], supervised=row.supervised[:kept], columns=columns)
