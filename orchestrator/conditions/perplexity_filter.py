"""Surprise: off-model training on the part of the teacher's answers that surprises the original student least, or most.

Source: "Why does off-model SFT degrade capabilities?" (LessWrong, May 2026), hypothesis 2. How the perplexity of the
data was varied there is not known: ranking whole answers by their mean negative log-likelihood is our choice. Answers
differ in length with it. Leaving out surprising tokens in place of answers is `train: {clip: 0.05}`.
"""

from pydantic import Field

from orchestrator.stages.builder import Builder, ConditionSpec
from orchestrator.stages.transforms import by_logprob
from orchestrator.study.settings import Settings
from orchestrator.study.train import TrainChanges


class Options(Settings):
    quantiles: tuple[float, float] = Field(
        description="the part that is kept, by rank: [0, 0.5] is the least surprising half"
    )
    train: TrainChanges


def build(builder: Builder, options: Options) -> ConditionSpec:
    low, high = options.quantiles
    if not 0 <= low < high <= 1:
        raise ValueError(
            f"quantiles: {low:g} to {high:g} is no part; give two numbers from 0 to 1, the lower one first"
        )
    if (low, high) == (0, 1):
        raise ValueError("quantiles: 0 to 1 is everything, which off_model learns from; give a part")
    answers = builder.sample(builder.teacher)
    inputs = {"data": answers, "likelihood": builder.training_nll(answers)}
    data = builder.transform(by_logprob.make, inputs, low=low, high=high)
    return ConditionSpec(builder.train(builder.teacher, builder.recipe(**options.train), data=data))
