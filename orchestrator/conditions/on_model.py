"""On-model training, the control: the same training on the student's own completions of the same prompts.

Source: "Why does off-model SFT degrade capabilities?" (LessWrong, May 2026). It is the same for every teacher, so all
pairs of a student share it. Completions under another system message, at another temperature, or rephrased are
off-policy and still the student's own (appendix 2, whose prompts are not known: the user gives them).
"""

from typing import Any

from pydantic import Field

from orchestrator.stages.builder import Builder, ConditionSpec
from orchestrator.stages.modified_sampling import modified_sample
from orchestrator.study.settings import Settings
from orchestrator.study.train import TrainChanges


class Options(Settings):
    prompts: dict[str, Any] = Field(
        {},
        description="fields that differ from the study's prompts; a system message is for sampling, not for training",
    )
    sampling: dict[str, Any] = Field({}, description="fields that differ from the study's sampling")
    rephrase: str | None = Field(
        None, description="a prompt, with {prompt} and {answer}, by which the student rephrases each of its completions"
    )
    train: TrainChanges


def build(builder: Builder, options: Options) -> ConditionSpec:
    data = modified_sample(builder, builder.student, options.prompts, options.sampling, options.rephrase)
    return ConditionSpec(builder.train(builder.student, builder.recipe(**options.train), data=data))
