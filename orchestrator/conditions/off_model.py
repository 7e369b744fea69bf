"""Off-model training: the student learns from the teacher's answers to the training prompts, by the study's recipe, or
by what `train` puts in its place: SDFT, on-policy distillation, full weights, another rank.

Source: "Why does off-model SFT degrade capabilities?" (LessWrong, May 2026), the main experiment.
"""

from typing import Any

from pydantic import Field

from orchestrator.stages.builder import Builder, ConditionSpec
from orchestrator.stages.modified_sampling import answers
from orchestrator.study.settings import Settings
from orchestrator.study.train import TrainChanges


class Options(Settings):
    prompts: dict[str, Any] = Field(
        {}, description="what differs from the study's prompts; a system message is asked with, and not learnt with"
    )
    sampling: dict[str, Any] = Field({}, description="what differs from how the study samples answers")
    train: TrainChanges


def build(builder: Builder, options: Options) -> ConditionSpec:
    data = answers(builder, builder.teacher, options.prompts, options.sampling)
    return ConditionSpec(builder.train(builder.teacher, builder.recipe(**options.train), data=data))
