"""Off-model SFT: the student is trained on the teacher's answers to the training prompts.

Source: "Why does off-model SFT degrade capabilities?" (LessWrong, May 2026), the main experiment.
"""

from pydantic import BaseModel, ConfigDict

from orchestrator.cell import Arm, Cell


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def arm(cell: Cell, options: Options) -> Arm:
    return Arm(cell.sft(data=cell.answers_of(cell.teacher)))
