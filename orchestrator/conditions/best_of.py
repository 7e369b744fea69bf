"""Best of n: the off-model student answers several times, and a verifier or a majority picks the answer that counts.

Source: "Why does off-model SFT degrade capabilities?" (LessWrong, May 2026), appendix 1b, whose n and temperature are
not known: ours are a choice. A perfect verifier picks a right answer if there is one, so best of n is then pass@n, by
the unbiased estimator of Chen et al. 2021 (arXiv 2107.03374). Conditions that differ in n and verifier alone share one
sampling, of `samples` answers.
"""

from typing import Literal

from pydantic import Field

from orchestrator.stages.builder import Builder, ConditionSpec
from orchestrator.study.settings import Settings


class Options(Settings):
    n: int = Field(gt=0, description="the answers that are picked from")
    select: Literal["verifier", "majority"] = Field("verifier", description="what picks one of them")
    samples: int = Field(16, gt=1, description="the answers that are drawn; at least n")
    temperature: float = Field(0.7, gt=0, le=2, description="at which they are drawn")
    student: Literal["off_model", "original"] = Field("off_model", description="which student answers")
    benchmarks: list[str] = Field(min_length=1, description="those that are asked")


def build(builder: Builder, options: Options) -> ConditionSpec:
    if options.n > options.samples:
        raise ValueError(
            f"n: the best of {options.n} needs as many samples, and there are {options.samples}: raise samples"
        )
    score = f"{'pass' if options.select == 'verifier' else 'majority'}@{options.n}"
    changes = {"samples": options.samples, "temperature": options.temperature, "score": score}
    benchmarks = {name: builder.benchmark(name, **changes) for name in options.benchmarks}
    student = builder.train(builder.teacher) if options.student == "off_model" else None
    return ConditionSpec(student, benchmarks)
