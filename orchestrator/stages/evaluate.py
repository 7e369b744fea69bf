"""The stage `evaluate`: grades the completions of a `sample` of a benchmark.

It is apart from `sample`, so that a new version of a grader regrades stored completions without sampling again.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluators.benchmarks import BENCHMARKS
from evaluators.engines.generations import to_jsonl
from evaluators.evaluate import Graded, check_rows, grade, graded_by_lm_eval, read_graded, summary
from orchestrator.stages import data
from orchestrator.stages.sample import TaskPrompts, generations_of
from orchestrator.store.context import StageContext
from orchestrator.store.stage import Stage
from orchestrator.study.benchmarks import Benchmark, GradedBenchmark

VERSION = 2
GRADES, SKIPPED = "grades.jsonl", "skipped.json"
SKIPS = "skip_unreadable"  # in the settings of graders that skip examples whose gold answer they cannot read


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """`score` aggregates several completions of an example. `grader` has the versions of the grader and its libraries;
    with SKIPS it leaves examples out. It is None for a task of lm-eval, which is graded when it is sampled."""

    kind: str
    score: str
    grader: Mapping[str, Any] | None


def stage(benchmark: Benchmark, generations: Stage) -> Stage:
    """The grades of a sample of a benchmark."""
    score = benchmark.score if isinstance(benchmark, GradedBenchmark) else "mean"
    grader = None if benchmark.task is not None else grader_version(benchmark.kind)
    if grader is not None and isinstance(benchmark, GradedBenchmark) and benchmark.skip_unreadable:
        grader[SKIPS] = True
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
    skipped: dict[int, str] = {}
    if isinstance(prompts, TaskPrompts):
        graded = graded_by_lm_eval(generations)
        figures: dict[str, float] = context.records["generations"]["facts"]["figures"]
    else:
        rows = data.read_examples(prompts.examples, sample.runtime.location, context.store)
        if settings.grader is not None and SKIPS in settings.grader:
            skipped = check_rows(settings.kind, rows, skip_unreadable=True)
            rows = [row for place, row in enumerate(rows) if place not in skipped]
            generations = [one for place, one in enumerate(generations) if place not in skipped]
        graded = grade(settings.kind, rows, generations, settings.score)
        verdicts = [verdict for one in graded for verdict in one.verdicts]
        figures = BENCHMARKS.module(settings.kind).further_scores(verdicts)
    (context.out / GRADES).write_text(to_jsonl(graded))
    facts = {**summary(generations, graded), "figures": figures}
    if skipped:
        (context.out / SKIPPED).write_text(json.dumps(list(skipped.values())))
        facts["skipped"] = len(skipped)
    return facts


def skipped_of(folder: Path) -> list[str]:
    """The examples that a finished evaluation with `skipped` among its facts has left out: a message for each."""
    return json.loads((folder / SKIPPED).read_text())


def grades_of(folder: Path) -> list[Graded]:
    """The grades in a finished evaluation's folder."""
    return read_graded(folder / GRADES)
