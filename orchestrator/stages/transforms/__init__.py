"""Row transformations, one file each: they make training rows from what other stages have left.

A transformation is a function `apply(context, **options)` that returns a `RowSet`, in a file with a `VERSION` (raise it
when the same inputs give other rows). It reads its input `data` with `rows_of(context.folder("data"))` and adds no rows
to it. One without `data`, which makes rows from nothing, takes their number as the option `n`. A file of a condition
may contain the transformation that only this condition uses.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from evaluators.engines.chat_template import Chat


@dataclass(frozen=True)
class Row:
    """A chat that ends with the assistant's answer, under the id of its prompt; `reason` is why a row was removed."""

    id: str
    chat: Chat
    reason: str = ""

    @property
    def prompt(self) -> Chat:
        return self.chat[:-1]

    @property
    def answer(self) -> str:
        return self.chat[-1]["content"]

    def with_answer(self, answer: str) -> "Row":
        return Row(self.id, [*self.prompt, {"role": "assistant", "content": answer}])

    def with_reason(self, reason: str) -> "Row":
        return Row(self.id, self.chat, reason)


@dataclass(frozen=True)
class RowSet:
    """The rows to train on, in order, the removed rows, and facts for the stage's record."""

    kept: list[Row]
    removed: list[Row] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def by_reason(cls, rows: Sequence[Row], **facts: Any) -> Self:
        """The rows, of which those with a reason are removed."""
        return cls([row for row in rows if not row.reason], [row for row in rows if row.reason], facts)
