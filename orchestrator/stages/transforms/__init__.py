"""Training rows made of what other stages left, one file for each way.

A way is a function `make(work, **settings)` that returns what it `RowSet`, in a file with a `VERSION` (raise it when it
makes other rows of the same). It reads the inputs of its stage, of which `data` is what the rows are made from, with
`rows_of(work.folder("data"))` of `orchestrator/stages/rows.py`, and adds none to them; one without `data`, which makes
rows of nothing, is told how many as `n`. The file of a condition may hold a way of its own.
"""

from dataclasses import dataclass, field
from typing import Any

from evaluators.engines.chat_template import Chat


@dataclass(frozen=True)
class Row:
    """A chat that ends in the assistant's answer, under the id of its prompt; `why` tells why one was removed."""

    id: str
    chat: Chat
    why: str = ""

    @property
    def prompt(self) -> Chat:
        return self.chat[:-1]

    @property
    def answer(self) -> str:
        return self.chat[-1]["content"]

    def answered(self, answer: str) -> "Row":
        """The same prompt with another answer."""
        return Row(self.id, [*self.prompt, {"role": "assistant", "content": answer}])

    def because(self, why: str) -> "Row":
        return Row(self.id, self.chat, why)


@dataclass(frozen=True)
class RowSet:
    """The rows to train on, in order, those that were removed, and facts for the record."""

    kept: list[Row]
    removed: list[Row] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
