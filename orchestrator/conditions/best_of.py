"""Best of n: the student samples several completions, and a verifier or a majority vote selects one of n.

Source: "Why does off-model SFT degrade capabilities?" (LessWrong, May 2026), appendix 1b. Its n and temperature are
not known: the defaults are our choice. A perfect verifier selects a right completion if there is one, so the score is
pass@n, by the unbiased estimator of Chen et al. 2021 (arXiv 2107.03374). It is estimated from more samples than n,
since n samples alone give a noisy estimate. Conditions with the same `samples` share them whatever their n.

Pass@n is never below pass@1, and rises with n by guessing alone where answers are few. So a rise from n = 1 says
nothing: compare with the base student, and with the same condition `by_chance`.
"""

from typing import Literal

from pydantic import Field

from evaluators.grading.aggregate import BY_CHANCE
from orchestrator.stages.builder import Builder, ConditionSpec
from orchestrator.study.benchmarks import GradedBenchmark
from orchestrator.study.prompts import ALL_TOKENS, MinP, TopK
from orchestrator.study.settings import Settings


class Options(Settings):
    n: int = Field(gt=0, description="completions from which one is selected")
    select: Literal["verifier", "majority"] = Field(
        "verifier",
        description="verifier: a right completion if there is one (pass@n); majority: the most frequent answer",
    )
    samples: int = Field(
        16, gt=1, description="completions sampled for each example, at least n: more give a better estimate of pass@n"
    )
    by_chance: bool = Field(
        False,
        description="grade each completion against another example: the score of such answers without regard to the "
        "question",
    )
    temperature: float = Field(0.7, gt=0, le=2, description="sampling temperature")
    top_p: float | None = Field(None, gt=0, le=1, description="nucleus sampling; the benchmark's by default")
    top_k: TopK | None = Field(None, description="most likely tokens to sample from; the benchmark's by default")
    min_p: MinP | None = Field(
        None, description="least share of the most likely token's probability; the benchmark's by default"
    )
    student: Literal["off_model", "untrained"] = Field(
        "off_model", description="the off-model student, or the base student"
    )
    benchmarks: list[str] = Field(min_length=1, description="the benchmarks to evaluate on")


def build(builder: Builder, options: Options) -> ConditionSpec:
    if options.n > options.samples:
        raise ValueError(
            f"n: the best of {options.n} needs as many samples, and there are {options.samples}: raise samples"
        )
    for name in options.benchmarks:
        declared = builder.benchmark(name)
        if isinstance(declared, GradedBenchmark) and declared.answer_by == "logprob":
            raise ValueError(
                f"benchmarks: best_of is not available for {name}, which has answer_by: logprob: use a benchmark with "
                f"generated completions, such as math500"
            )
    score = f"{'pass' if options.select == 'verifier' else 'majority'}@{options.n}{BY_CHANCE * options.by_chance}"
    changes = {"samples": options.samples, "temperature": options.temperature, "score": score}
    changes |= options.model_dump(include=set(ALL_TOKENS), exclude_none=True)
    benchmarks = {name: builder.benchmark(name, **changes) for name in options.benchmarks}
    student = builder.train(builder.teacher) if options.student == "off_model" else None
    return ConditionSpec(student, benchmarks)
