"""On-model SFT, the control: the same training on the student's own answers to the same prompts.

Source: "Why does off-model SFT degrade capabilities?" (LessWrong, May 2026). It is the same for every teacher, so all
pairs of a student share it.
"""

from pydantic import BaseModel, ConfigDict

from orchestrator.cell import Arm, Cell


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def arm(cell: Cell, options: Options) -> Arm:
    return Arm(cell.sft(data=cell.answers_of(cell.student)))
