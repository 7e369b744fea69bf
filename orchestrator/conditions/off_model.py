"""Off-model training: the student is trained on the teacher's completions of the training prompts, as the study or this
condition's `train` says: SFT, SDFT, on-policy distillation, full weights, another LoRA rank.

Source: "Why does off-model SFT degrade capabilities?" (LessWrong, May 2026), the main experiment.
"""

from orchestrator.stages.builder import Builder, ConditionSpec
from orchestrator.stages.modified_sampling import SamplingOptions, modified_sample
from orchestrator.study.train import TrainChanges


class Options(SamplingOptions):
    train: TrainChanges


def build(builder: Builder, options: Options) -> ConditionSpec:
    data = modified_sample(builder, builder.teacher, options.prompts, options.sampling)
    return ConditionSpec(builder.train(builder.teacher, builder.recipe(**options.train), data=data))
