"""Own reasoning: the student is trained on the teacher's final answers, after its own reasoning on the same prompt.

Source: "An Empirical Study of Methods for SFTing Opaque Reasoning Models" (LessWrong, 2026), its second method. Also
evidence 4 of "Why does off-model SFT degrade capabilities?" (LessWrong, May 2026): reasoning models that are trained on
outputs alone retain their capabilities. Only the tokens after the reasoning are supervised. Other ways to train on
outputs alone are off_model's `train: {loss_on: after_reasoning}` and `empty_reasoning`.
"""

from orchestrator.stages.builder import Builder, ConditionSpec
from orchestrator.stages.transforms import own_reasoning
from orchestrator.study.settings import Settings
from orchestrator.study.train import TrainChanges


class Options(Settings):
    train: TrainChanges


def build(builder: Builder, options: Options) -> ConditionSpec:
    if "loss_on" in options.train:
        raise ValueError("train.loss_on: this condition supervises what follows the reasoning: leave loss_on out")
    recipe = builder.recipe(**options.train, loss_on="after_reasoning")
    inputs = {"data": builder.sample(builder.teacher), "reasoning": builder.sample(builder.student)}
    return ConditionSpec(builder.train(builder.teacher, recipe, data=builder.transform(own_reasoning.apply, inputs)))
