"""Interpolation: the student whose weights are on the line through those of the base and of the off-model student.

Source: WiSE-FT (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models", arXiv:2109.01903), there between a
zero-shot and a fine-tuned image classifier. For LoRA this scales the adapter, so no merged checkpoint is needed. The
off-model student is that of `off_model`, trained once for both.
"""

from pydantic import Field

from orchestrator.stages.builder import Builder, ConditionSpec
from orchestrator.stages.weights import Interpolate, Scale
from orchestrator.study.settings import Settings


class Options(Settings):
    share: float = Field(description="position on the line: 0 is the base student, 1 the off-model student")


def build(builder: Builder, options: Options) -> ConditionSpec:
    if options.share == 0:
        raise ValueError("share: 0 is the base student, which is evaluated anyway; give another number")
    student = builder.train(builder.teacher)
    if student.settings.leaves_adapter:
        return ConditionSpec(builder.weights(student, Scale(factor=options.share)))
    return ConditionSpec(builder.weights(student, Interpolate(share=options.share)))
