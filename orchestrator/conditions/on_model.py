"""On-model training, the control: the same training on the student's own completions of the same prompts.

Source: "Why does off-model SFT degrade capabilities?" (LessWrong, May 2026). It is the same for every teacher, so all
pairs of a student share it. Completions under another system message, at another temperature, or rephrased are
off-policy and still the student's own (appendix 2, whose prompts are not known: the user gives them).
"""

from pydantic import Field

from orchestrator.stages.builder import Builder, ConditionSpec
from orchestrator.stages.modified_sampling import SamplingOptions, modified_sample
from orchestrator.study.train import TrainChanges


class Options(SamplingOptions):
    rephrase: str | None = Field(
        None, description="a prompt, with {prompt} and {answer}, by which the student rephrases each of its completions"
    )
    train: TrainChanges


def build(builder: Builder, options: Options) -> ConditionSpec:
    data = modified_sample(builder, builder.student, options.prompts, options.sampling, options.rephrase)
    return ConditionSpec(builder.train(builder.student, builder.recipe(**options.train), data=data))
