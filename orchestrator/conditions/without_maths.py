"""Without mathematics: off-model training without the prompts that are mathematics, by a rule or by a classifier.

Source: "Why does off-model SFT degrade capabilities?" (LessWrong, May 2026), appendix 4. Its filter is not known: the
default rule is our choice, and so is the classifier, which is trained on the problems of a benchmark
(`transforms/by_classifier.py`). Removed rows are stored beside the others, with the reason.
"""

from typing import Any

from pydantic import Field, field_validator

from evaluators.suggest import did_you_mean
from orchestrator.stages import data
from orchestrator.stages.builder import Builder, ConditionSpec
from orchestrator.stages.modified_sampling import modified_sample
from orchestrator.stages.transforms import by_classifier, by_rule
from orchestrator.store.stage import Stage
from orchestrator.study.benchmarks import GRADED, Benchmark
from orchestrator.study.prompts import Problems
from orchestrator.study.settings import Settings, regular_expression
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
        return None if rule is None else regular_expression(rule)


def build(builder: Builder, options: Options) -> ConditionSpec:
    if options.rule is not None and options.like_benchmark is not None:
        raise ValueError("give one of rule and like_benchmark")
    if options.like_benchmark is None and options.recall is not None:
        raise ValueError("recall has no effect on a rule: give like_benchmark, or leave it out")
    inputs = {"data": modified_sample(builder, builder.teacher, options.prompts, {}) or builder.sample(builder.teacher)}
    if options.like_benchmark is None:
        data = builder.transform(by_rule.apply, inputs, rule=options.rule or RULE)
    else:
        data = _by_classifier(builder, inputs, options.like_benchmark, options.recall or 0.95)
    return ConditionSpec(builder.train(builder.teacher, builder.recipe(**options.train), data=data))


def _by_classifier(builder: Builder, inputs: dict[str, Stage], like_benchmark: str, recall: float) -> Stage:
    study = builder.study
    known: Problems | Benchmark
    if like_benchmark == "rl_problems" and study.rl_problems is not None:
        known, like = study.rl_problems, data.problem_data(study.rl_problems)
    elif like_benchmark in study.benchmarks:
        known = study.benchmarks[like_benchmark]
        if known.task is not None:
            raise ValueError(
                f"like_benchmark: {like_benchmark} is a task of lm-eval, whose rows are not read here: {GRADED}"
            )
        like = data.benchmark_data(known)
    else:
        raise ValueError(
            f'like_benchmark: "{like_benchmark}" is neither a benchmark of the study nor rl_problems; '
            f"{did_you_mean(like_benchmark, study.benchmarks)}"
        )
    return builder.transform(by_classifier.apply, inputs, location=known.source, like=like, recall=recall)
