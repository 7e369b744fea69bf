"""Interpolation: the student on the straight line through the weights of the original and of the off-model student.

Source: WiSE-FT (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models", arXiv:2109.01903), there between a
zero-shot and a fine-tuned image classifier. On a LoRA student's line lies its adapter, scaled: the same weights, served
without a checkpoint of their own. The off-model student is that of `off_model`, trained once for both.
"""

from pydantic import Field

from orchestrator.stages.builder import Builder, ConditionSpec
from orchestrator.stages.weights import Interpolate, Scale
from orchestrator.study.settings import Settings


class Options(Settings):
    share: float = Field(description="of the way from the original (0) to the off-model student (1), or beyond either")


def build(builder: Builder, options: Options) -> ConditionSpec:
    if options.share == 0:
        raise ValueError("share: 0 is the original student, which is asked anyway; give another one")
    student = builder.train(builder.teacher)
    if student.settings.leaves_adapter:
        return ConditionSpec(builder.weights(student, Scale(factor=options.share)))
    return ConditionSpec(builder.weights(student, Interpolate(share=options.share)))
