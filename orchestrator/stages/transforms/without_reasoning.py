"""Removes the reasoning from each answer: everything up to its last `</think>`.

Input: `data`. A row is removed where its reasoning did not end, or nothing follows it.
"""

from evaluators.engines.thinking import strip_reasoning
from orchestrator.stages.sample import GENERATIONS, generations_of
from orchestrator.stages.transform import rows_of
from orchestrator.stages.transforms import Row, RowSet
from orchestrator.store.context import StageContext

VERSION = 1


def apply(context: StageContext) -> RowSet:
    folder, opened = context.folder("data"), {}
    if (folder / GENERATIONS).exists():
        opened = {one.id: one.prompt_opens_think_block for one in generations_of(folder)}
    return RowSet.by_reason([without_reasoning(row, opened.get(row.id, False)) for row in rows_of(folder)])


def without_reasoning(row: Row, prompt_opens_think_block: bool) -> Row:
    answer = strip_reasoning(row.answer, prompt_opens_think_block)
    return row.with_answer(answer) if answer.strip() else row.with_reason("nothing follows the reasoning")
