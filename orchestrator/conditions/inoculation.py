"""Inoculation: a system message or a prefix of the prompt in training, in evaluation, or in both.

Source: "Why does off-model SFT degrade capabilities?" (LessWrong, May 2026), evidence 5. Its prompts are not known:
the user gives them. In training, the teacher answers without them and the student learns with them. In evaluation
alone, they are added to the prompts of the student of `off_model`, to make its evaluation resemble its training.
"""

from typing import Any, Literal

from pydantic import Field

from evaluators.benchmarks import BENCHMARKS
from orchestrator.stages.builder import Builder, ConditionSpec
from orchestrator.stages.transforms import prompted
from orchestrator.store.stage import Stage
from orchestrator.study.benchmarks import Benchmark, GradedBenchmark
from orchestrator.study.settings import Settings
from orchestrator.study.train import TrainChanges


class Options(Settings):
    when: Literal["training", "evaluation", "both"] = Field(
        description="when the student sees the system message or prefix"
    )
    system: str | None = Field(None, min_length=1, description="a system message, instead of any other")
    prefix: str | None = Field(None, min_length=1, description="text before the prompt, including blanks")
    student: Literal["off_model", "untrained"] = Field(
        "off_model", description="with when: evaluation, the off-model student or the base student"
    )
    benchmarks: list[str] | None = Field(
        None, min_length=1, description="the benchmarks to evaluate on; all by default"
    )
    train: TrainChanges


def build(builder: Builder, options: Options) -> ConditionSpec:
    if options.system is None and options.prefix is None:
        raise ValueError("system, prefix: give at least one of them")
    if options.student == "untrained" and (options.when != "evaluation" or options.train):
        raise ValueError("student: the base student is not trained; use when: evaluation, and leave train out")
    names = options.benchmarks or list(builder.study.benchmarks)
    benchmarks = {
        name: builder.benchmark(name) if options.when == "training" else _with_prompt(builder, name, options)
        for name in names
    }
    student = None if options.student == "untrained" else _trained(builder, options)
    return ConditionSpec(student, benchmarks)


def _trained(builder: Builder, options: Options) -> Stage:
    data = None
    if options.when != "evaluation":
        system = options.system or builder.study.prompts.system
        inputs = {"data": builder.sample(builder.teacher)}
        data = builder.transform(prompted.apply, inputs, system=system, prefix=options.prefix or "")
    return builder.train(builder.teacher, builder.recipe(**options.train), data=data)


def _with_prompt(builder: Builder, name: str, options: Options) -> Benchmark:
    changes: dict[str, Any] = {} if options.system is None else {"system": options.system}
    if options.prefix is not None:
        before = builder.benchmark(name)
        own = before.prompt or BENCHMARKS.module(before.kind).PROMPT if isinstance(before, GradedBenchmark) else ""
        changes["prompt"] = options.prefix.replace("{", "{{").replace("}", "}}") + own
    return builder.benchmark(name, **changes)
