"""Keeps the completions of problems that the problems' own grader finds correct.

Input: `data`, a sample of problems, with several completions of each where it has them. With `one`, the first correct
completion of a problem is kept. Truncated and failed completions are removed.
"""

from evaluators.engines.generations import Generation
from evaluators.evaluate import Graded, grade
from orchestrator.stages import data
from orchestrator.stages.sample import generations_of
from orchestrator.stages.transforms import Row, RowSet
from orchestrator.store.context import StageContext

VERSION = 1


def apply(context: StageContext, one: bool) -> RowSet:
    problems = context.stage.inputs["data"]
    examples = problems.settings.prompts.examples
    generations = generations_of(context.folder("data"))
    rows = data.read_examples(examples, problems.runtime.location, context.store)
    graded = grade(examples.kind, rows, generations)
    of_problems = [_rows(*each, one=one) for each in zip(generations, graded, strict=True)]
    solved = sum(any(not row.reason for row in found) for found in of_problems)
    return RowSet.by_reason([row for found in of_problems for row in found], problems=len(rows), solved=solved)


def _rows(generation: Generation, graded: Graded, one: bool) -> list[Row]:
    """The completions of a problem; those that are not kept have a reason."""
    found: list[Row] = []
    several = len(generation.completions) > 1
    for number, (completion, verdict) in enumerate(zip(generation.completions, graded.verdicts, strict=True), 1):
        id = f"{generation.id}-{number}" if several else generation.id
        row = Row(id, [*generation.prompt, {"role": "assistant", "content": completion.text}])
        if completion.truncated or completion.error is not None:
            row = row.with_reason("truncated or failed")
        elif not verdict.correct:
            row = row.with_reason("not correct")
        elif one and any(not earlier.reason for earlier in found):
            row = row.with_reason("another completion of the problem is kept")
        found.append(row)
    return found
