"""The same answers under other prompts: another system message, or words before what the user says.

With the input `prompts`, a sample of the same prompts, the prompt of each row is the one of the same id there.
"""

from orchestrator.stages.sample import answers_of
from orchestrator.stages.transform import rows_of
from orchestrator.stages.transforms import Row, RowSet
from orchestrator.store.context import StageContext

VERSION = 1


def make(work: StageContext, system: str | None, prefix: str) -> RowSet:
    rows = rows_of(work.folder("data"))
    if "prompts" in work.stage.inputs:
        prompts = {one.id: one.prompt for one in answers_of(work.folder("prompts"))}
        rows = [Row(row.id, [*prompts[row.id], row.chat[-1]]) for row in rows]
    return RowSet([prompted(row, system, prefix) for row in rows])


def prompted(row: Row, system: str | None, prefix: str) -> Row:
    """A row under this system message (None: none), with `prefix` before the user's first words."""
    said = [message for message in row.chat if message["role"] != "system"]
    first = next(i for i, message in enumerate(said) if message["role"] == "user")
    said[first] = {"role": "user", "content": prefix + said[first]["content"]}
    return Row(row.id, [*([{"role": "system", "content": system}] if system else []), *said])
