"""Prefill: the off-model student goes on from the original student's first tokens on the same problem.

Source: "Why does off-model SFT degrade capabilities?" (LessWrong, May 2026), evidence 2. The number of tokens is not
known from there: the default is our choice. The student is that of `off_model`, trained once for both.
"""

from pydantic import BaseModel, ConfigDict, Field

from orchestrator.cell import Arm, Cell, Opening


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    tokens: int = Field(4, gt=0, description="how many of the original student's tokens the answer begins with")
    benchmarks: list[str] = Field(min_length=1, description="those with an answer long enough to be begun")


def arm(cell: Cell, options: Options) -> Arm:
    return Arm(
        cell.sft(data=cell.answers_of(cell.teacher)),
        benchmarks=tuple(options.benchmarks),
        opening=Opening(of=None, tokens=options.tokens),
    )
