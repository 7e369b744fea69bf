"""On-model training, the control: the same training on the student's own answers to the same prompts.

Source: "Why does off-model SFT degrade capabilities?" (LessWrong, May 2026). It is the same for every teacher, so all
pairs of a student share it.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from orchestrator.cell import Arm, Cell


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    train: dict[str, Any] = Field({}, description="what differs from the study's recipe")


def arm(cell: Cell, options: Options) -> Arm:
    return Arm(cell.trained(cell.student, cell.recipe(**options.train)))
