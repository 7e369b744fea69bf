"""Prefill: the off-model student goes on from how another model, by default the original student, began its answer to
the same problem: its first tokens, or all up to a marker.

Source: "Why does off-model SFT degrade capabilities?" (LessWrong, May 2026), evidence 2. The number of tokens is not
known from there: the default is our choice. The student is that of `off_model`, trained once for both.
"""

from pydantic import Field

from evaluators.engines.prefill import Prefill
from orchestrator.stages.api_models import is_api
from orchestrator.stages.builder import Builder, ConditionSpec
from orchestrator.study.settings import Settings

TOKENS = 4


class Options(Settings):
    tokens: int | None = Field(None, gt=0, description=f"how many tokens the answer begins with; {TOKENS} by default")
    until: str | None = Field(None, min_length=1, description="in place of tokens: all up to and with this text")
    from_model: str | None = Field(None, description="the model whose answers are cut; the original student by default")
    benchmarks: list[str] = Field(min_length=1, description="those with an answer long enough to be begun")


def build(builder: Builder, options: Options) -> ConditionSpec:
    if options.tokens is not None and options.until is not None:
        raise ValueError("give one of tokens and until")
    for name in options.benchmarks:
        asked = builder.study.benchmarks.get(name)
        if asked is not None and (asked.task is not None or asked.answer_by == "logprob" or asked.thinking == "empty"):
            raise ValueError(f"benchmarks: an answer to {name} cannot be begun, by how it is asked")
    of = options.from_model or builder.student
    tokens = options.tokens if options.until is not None else options.tokens or TOKENS
    if is_api(builder.model(of)) and tokens:
        raise ValueError(
            f"from_model: {of} is behind an API, which shows no tokens of its answers to begin with: give until"
        )
    return ConditionSpec(
        builder.train(builder.teacher),
        {name: builder.benchmark(name) for name in options.benchmarks},
        Prefill(from_model=of, tokens=tokens, until=options.until),
    )
