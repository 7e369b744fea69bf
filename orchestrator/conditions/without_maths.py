"""Without mathematics: off-model training without the prompts that are mathematics, by a rule or by a classifier.

Source: "Why does off-model SFT degrade capabilities?" (LessWrong, May 2026), appendix 4. Its filter is not known: the
default rule is our choice, and so is the classifier, which is trained on the problems of a benchmark
(`transforms/by_classifier.py`). Removed rows are stored beside the others, with the reason.
"""

import re
from typing import Any

from pydantic import Field, field_validator

from evaluators.suggest import did_you_mean
from orchestrator.stages import data
from orchestrator.stages.builder import Builder, ConditionSpec
from orchestrator.stages.modified_sampling import answers
from orchestrator.stages.transforms import by_classifier, by_rule
from orchestrator.store.stage import Stage
from orchestrator.study.settings import Settings
from orchestrator.study.train import TrainChanges

RULE = (
    r"(?i)\d\s*[-+*/×÷^=<>%]\s*\d|\b(solve|calculat\w*|comput\w*|equations?|arithmetic|algebra\w*|geometr\w*|integers?|"
    r"fractions?|percent\w*|multipl\w*|divided? by|square root|perimeter|probabilit\w*|derivative|integral|polynomial|"
    r"math\w*|sum of|product of|how (many|much))\b"
)


class Options(Settings):
    rule: str | None = Field(
        None,
        description="a regular expression: prompts that match are removed; words and signs of mathematics by default",
    )
    like_benchmark: str | None = Field(
        None, description="instead of a rule: the benchmark on which the classifier is trained, or `rl_problems`"
    )
    recall: float | None = Field(
        None,
        gt=0,
        le=1,
        description="with like_benchmark: the share of its problems that the classifier finds; 0.95 by default",
    )
    prompts: dict[str, Any] = Field({}, description="fields that differ from the study's prompts")
    train: TrainChanges

    @field_validator("rule")
    @classmethod
    def _is_regular(cls, rule: str | None) -> str | None:
        try:
            re.compile(rule or "")
        except re.error as error:
            raise ValueError(f"{rule!r} is not a regular expression: {error}") from error
        return rule


def build(builder: Builder, options: Options) -> ConditionSpec:
    if options.rule is not None and options.like_benchmark is not None:
        raise ValueError("give one of rule and like_benchmark")
    if options.like_benchmark is None and options.recall is not None:
        raise ValueError("recall has no effect on a rule: give like_benchmark, or leave it out")
    inputs = {"data": answers(builder, builder.teacher, options.prompts, {}) or builder.sample(builder.teacher)}
    if options.like_benchmark is None:
        data = builder.transform(by_rule.make, inputs, rule=options.rule or RULE)
    else:
        data = _by_classifier(builder, inputs, options.like_benchmark, options.recall or 0.95)
    return ConditionSpec(builder.train(builder.teacher, builder.recipe(**options.train), data=data))


def _by_classifier(builder: Builder, inputs: dict[str, Stage], like_benchmark: str, recall: float) -> Stage:
    study = builder.study
    if like_benchmark == "rl_problems" and study.rl_problems is not None:
        known = {"kind": study.rl_problems.kind, "rows": data.problems_identity(study.rl_problems), "problems": True}
        return builder.transform(
            by_classifier.make, inputs, {"like": study.rl_problems.model_dump()}, like=known, recall=recall
        )
    if like_benchmark not in study.benchmarks:
        raise ValueError(
            f'like_benchmark: "{like_benchmark}" is not a benchmark of the study; '
            f"{did_you_mean(like_benchmark, study.benchmarks)}"
        )
    benchmark = study.benchmarks[like_benchmark]
    if benchmark.task is not None:
        raise ValueError(f"like_benchmark: {like_benchmark} is a task of lm-eval; use another benchmark")
    known = {"kind": benchmark.kind, "rows": data.rows_identity(benchmark), "problems": False}
    return builder.transform(by_classifier.make, inputs, {"like": benchmark.model_dump()}, like=known, recall=recall)
