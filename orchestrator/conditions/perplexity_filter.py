"""Perplexity filter: off-model training on the teacher's completions with the lowest or highest perplexity under the
base student.

Source: "Why does off-model SFT degrade capabilities?" (LessWrong, May 2026), hypothesis 2. How it varied the perplexity
of the data is not known: ranking whole completions by their mean negative log-likelihood is our choice. Completions of
different perplexity also differ in length, and, without `match`, in the kinds of their prompts. To leave out single
tokens instead, use `train: {drop_least_likely: 0.05}`.
"""

from pydantic import Field, field_validator

from orchestrator.stages.builder import Builder, ConditionSpec
from orchestrator.stages.transforms import by_logprob
from orchestrator.study.settings import Settings, regular_expression
from orchestrator.study.train import TrainChanges


class Options(Settings):
    quantiles: tuple[float, float] = Field(
        description="the part that is kept, by rank: [0, 0.5] is the half with the lowest perplexity"
    )
    match: str | None = Field(
        None,
        description=r"a regular expression: completions are ranked among those in whose prompts it matches the same "
        r"text, as ^\w+ (the first word); among all by default",
    )
    train: TrainChanges

    @field_validator("match")
    @classmethod
    def _is_regular(cls, match: str | None) -> str | None:
        return None if match is None else regular_expression(match)


def build(builder: Builder, options: Options) -> ConditionSpec:
    low, high = options.quantiles
    if not 0 <= low < high <= 1:
        raise ValueError(
            f"quantiles: {low:g} to {high:g} is not a part; give two numbers from 0 to 1, the lower one first"
        )
    if (low, high) == (0, 1):
        raise ValueError("quantiles: 0 to 1 is everything, as in off_model; give a part")
    answers = builder.sample(builder.teacher)
    inputs = {"data": answers, "logprobs": builder.training_nll(answers)}
    by_kind = {} if options.match is None else {"match": options.match}
    data = builder.transform(by_logprob.apply, inputs, low=low, high=high, **by_kind)
    return ConditionSpec(builder.train(builder.teacher, builder.recipe(**options.train), data=data))
