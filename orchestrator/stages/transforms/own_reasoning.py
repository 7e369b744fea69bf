"""Puts the student's own reasoning before the teacher's final answer.

Inputs: `data`, the teacher's answers, and `reasoning`, the student's sample of the same prompts. Of the student's
completion everything up to the last `</think>` is taken, with the blanks after it. Rows are removed where the student's
reasoning did not end, or where the teacher's answer has no text outside its reasoning.
"""

from evaluators.engines.thinking import END, strip_reasoning
from orchestrator.stages.sample import generations_of
from orchestrator.stages.transform import rows_of
from orchestrator.stages.transforms import Row, RowSet
from orchestrator.store.context import StageContext

VERSION = 1


def apply(context: StageContext) -> RowSet:
    # A completion that was truncated after its reasoning has all that is taken of it.
    reasoning = {one.id: one.completions[0].text for one in generations_of(context.folder("reasoning"))}
    prompt_opens_think_block = {one.id: one.prompt_opens_think_block for one in generations_of(context.folder("data"))}
    return RowSet.by_reason(
        [
            combined(row, reasoning.get(row.id, ""), prompt_opens_think_block[row.id])
            for row in rows_of(context.folder("data"))
        ]
    )


def combined(row: Row, own: str, prompt_opens_think_block: bool) -> Row:
    """The teacher's row with the reasoning of the student's completion `own` before the teacher's final answer."""
    reasoning, end, after = own.rpartition(END)
    answer = strip_reasoning(row.answer, prompt_opens_think_block)
    if not end:
        return row.with_reason("the student's reasoning did not end")
    if not answer.strip():
        return row.with_reason("the teacher's answer has no text outside its reasoning")
    blanks = after[: len(after) - len(after.lstrip())] or "\n\n"
    return row.with_answer(reasoning + end + blanks + answer)
