"""The stage `evaluate`: grades the completions of a `sample` of a benchmark.

It is apart from `sample`, so that a new version of a grader regrades stored completions without sampling again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluators.benchmarks import BENCHMARKS
from evaluators.engines.generations import to_jsonl
from evaluators.evaluate import Graded, grade, graded_by_lm_eval, read_graded, summary
from orchestrator.stages import data
from orchestrator.stages.sample import TaskPrompts, generations_of
from orchestrator.store.context import StageContext
from orchestrator.store.stage import Stage
from orchestrator.study.benchmarks import Benchmark, GradedBenchmark

VERSION = 2
GRADES = "grades.jsonl"


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """`score` aggregates several completions of an example. `grader` has the versions of the grader and its libraries;
    it is None for a task of lm-eval, which is graded when it is sampled."""

    kind: str
    score: str
    grader: Mapping[str, Any] | None


def stage(benchmark: Benchmark, generations: Stage) -> Stage:
    """The grades of a sample of a benchmark."""
    score = benchmark.score if isinstance(benchmark, GradedBenchmark) else "mean"
    grader = None if benchmark.task is not None else grader_version(benchmark.kind)
    settings = EvaluateSettings(kind=benchmark.kind, score=score, grader=grader)
    return Stage("evaluate", VERSION, generations.name, settings, {"generations": generations})


def grader_version(kind: str) -> dict[str, Any]:
    """The versions of all code that decides grades in the benchmark `kind`."""
    module = BENCHMARKS.module(kind)
    return {"version": module.VERSION, **{library: data.version_of(library) for library in module.LIBRARIES}}


def run(context: StageContext) -> dict[str, Any]:
    settings: EvaluateSettings = context.stage.settings
    sample = context.stage.inputs["generations"]
    generations, prompts = generations_of(context.folder("generations")), sample.settings.prompts
    if isinstance(prompts, TaskPrompts):
        graded = graded_by_lm_eval(generations)
        figures: dict[str, float] = context.records["generations"]["facts"]["figures"]
    else:
        rows = data.read_examples(prompts.examples, sample.runtime.location, context.store)
        graded = grade(settings.kind, rows, generations, settings.score)
        verdicts = [verdict for one in graded for verdict in one.verdicts]
        figures = BENCHMARKS.module(settings.kind).further_scores(verdicts)
    (context.out / GRADES).write_text(to_jsonl(graded))
    return {**summary(generations, graded), "figures": figures}


def grades_of(folder: Path) -> list[Graded]:
    """The grades in a finished evaluation's folder."""
    return read_graded(folder / GRADES)
