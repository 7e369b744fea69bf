"""Puts other prompts before the same answers: another system message, or words before the user's message.

With the input `prompts`, a sample of the same prompts, each row takes the prompt with its id there.
"""

from orchestrator.stages.sample import generations_of
from orchestrator.stages.transform import rows_of
from orchestrator.stages.transforms import Row, RowSet
from orchestrator.store.context import StageContext

VERSION = 1


def apply(context: StageContext, system: str | None, prefix: str) -> RowSet:
    rows = rows_of(context.folder("data"))
    if "prompts" in context.stage.inputs:
        prompts = {one.id: one.prompt for one in generations_of(context.folder("prompts"))}
        rows = [Row(row.id, [*prompts[row.id], row.chat[-1]]) for row in rows]
    return RowSet([with_prompt(row, system, prefix) for row in rows])


def with_prompt(row: Row, system: str | None, prefix: str) -> Row:
    """A row with this system message (None: none) and with `prefix` before the first user message."""
    messages = [message for message in row.chat if message["role"] != "system"]
    first = next(i for i, message in enumerate(messages) if message["role"] == "user")
    messages[first] = {"role": "user", "content": prefix + messages[first]["content"]}
    return Row(row.id, [*([{"role": "system", "content": system}] if system else []), *messages])
