"""On-model training, the control: the same training on the student's own answers to the same prompts.

Source: "Why does off-model SFT degrade capabilities?" (LessWrong, May 2026). It is the same for every teacher, so all
pairs of a student share it. Asked with another system message, at another temperature, or rephrased, its answers are
off-policy and still its own (appendix 2, whose prompts are not known: they are the user's to give).
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
    rephrase: str | None = Field(
        None, description="ask the student again about each answer, by this text with {prompt} and {answer} in it"
    )
    train: TrainChanges


def build(builder: Builder, options: Options) -> ConditionSpec:
    data = answers(builder, builder.student, options.prompts, options.sampling, options.rephrase)
    return ConditionSpec(builder.train(builder.student, builder.recipe(**options.train), data=data))
