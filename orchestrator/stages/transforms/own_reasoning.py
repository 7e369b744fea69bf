"""The student's own reasoning before the teacher's spoken answer.

Inputs: `data`, the teacher's answers, and `reasoning`, the student's to the same prompts. Of the student's answer
all up to and with its last `</think>` is taken, with the blanks after it. Rows without an ended reasoning of the
student's, or without a spoken answer of the teacher's, are removed.
"""

from evaluators.engines.thinking import END, strip_reasoning
from orchestrator.stages.sample import answers_of
from orchestrator.stages.transform import rows_of
from orchestrator.stages.transforms import Row, RowSet
from orchestrator.store.context import StageContext

VERSION = 1


def make(work: StageContext) -> RowSet:
    # An answer that was cut off after its reasoning has all that is taken of it.
    reasoned = {one.id: one.completions[0].text for one in answers_of(work.folder("reasoning"))}
    prompt_opens_think_block = {one.id: one.prompt_opens_think_block for one in answers_of(work.folder("data"))}
    made = [
        joined(row, reasoned.get(row.id, ""), prompt_opens_think_block[row.id]) for row in rows_of(work.folder("data"))
    ]
    return RowSet([row for row in made if not row.why], [row for row in made if row.why])


def joined(row: Row, own: str, prompt_opens_think_block: bool) -> Row:
    """The teacher's row with the student's reasoning (of the answer `own`) before what it says aloud."""
    reasoning, end, after = own.rpartition(END)
    said = strip_reasoning(row.answer, prompt_opens_think_block)
    if not end:
        return row.because("the student's reasoning did not end")
    if not said.strip():
        return row.because("the teacher's answer says nothing aloud")
    blanks = after[: len(after) - len(after.lstrip())] or "\n\n"
    return row.answered(reasoning + end + blanks + said)
