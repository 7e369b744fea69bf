"""Inoculation: a system message, or words before the prompt, at training, at evaluation, or at both.

Source: "Why does off-model SFT degrade capabilities?" (LessWrong, May 2026), evidence 5. Its prompts are not known:
they are the user's to give. At training the teacher answers without them, and the student learns with them. At
evaluation alone they are put before what the student of `off_model` is asked, as to make that resemble its training.
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
    when: Literal["training", "evaluation", "both"] = Field(description="when the student sees the words")
    system: str | None = Field(None, min_length=1, description="a system message, in place of any other")
    prefix: str | None = Field(None, min_length=1, description="what stands before the user's words, blanks included")
    student: Literal["off_model", "original"] = Field(
        "off_model", description="at evaluation alone: which student is asked"
    )
    benchmarks: list[str] | None = Field(None, min_length=1, description="those that are asked; all by default")
    train: TrainChanges


def build(builder: Builder, options: Options) -> ConditionSpec:
    if options.system is None and options.prefix is None:
        raise ValueError("system, prefix: give one of them, or both")
    if options.student == "original" and (options.when != "evaluation" or options.train):
        raise ValueError("student: the original student is not trained; use when: evaluation, and leave train out")
    names = options.benchmarks or list(builder.study.benchmarks)
    benchmarks = {
        name: builder.benchmark(name) if options.when == "training" else _with_prompt(builder, name, options)
        for name in names
    }
    student = None if options.student == "original" else _trained(builder, options)
    return ConditionSpec(student, benchmarks)


def _trained(builder: Builder, options: Options) -> Stage:
    data = None
    if options.when != "evaluation":
        system = options.system or builder.study.prompts.system
        inputs = {"data": builder.sample(builder.teacher)}
        data = builder.transform(prompted.make, inputs, system=system, prefix=options.prefix or "")
    return builder.train(builder.teacher, builder.recipe(**options.train), data=data)


def _with_prompt(builder: Builder, name: str, options: Options) -> Benchmark:
    changes: dict[str, Any] = {} if options.system is None else {"system": options.system}
    if options.prefix is not None:
        before = builder.benchmark(name)
        own = before.prompt or BENCHMARKS.module(before.kind).PROMPT if isinstance(before, GradedBenchmark) else ""
        changes["prompt"] = options.prefix.replace("{", "{{").replace("}", "}}") + own
    return builder.benchmark(name, **changes)
