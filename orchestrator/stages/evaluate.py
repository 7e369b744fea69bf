"""The stage `evaluate`: a model's answers to a benchmark are graded.

Apart from `sample`, so that a benchmark that comes to grade otherwise grades the same answers again.
"""

from pathlib import Path
from typing import Any

from evaluators.benchmarks import BENCHMARKS
from evaluators.evaluate import Graded, grade, graded_by_lm_eval, read_graded, summary, write_graded
from orchestrator.stages import data, sample
from orchestrator.store.context import StageContext
from orchestrator.store.stage import Stage
from orchestrator.study.benchmarks import Benchmark, GradedBenchmark, benchmark_of

VERSION = 2
GRADES = "grades.jsonl"


def stage(name: str, benchmark: Benchmark, answers: Stage) -> Stage:
    """The grades of the answers that a `sample` of a benchmark, which the study calls `name`, left."""
    score = benchmark.score if isinstance(benchmark, GradedBenchmark) else "mean"
    settings: dict[str, Any] = {"kind": benchmark.kind, "score": score}
    if benchmark.task is None:
        module = BENCHMARKS.module(benchmark.kind)
        settings["grader"] = {"version": module.VERSION, **{name: data.version_of(name) for name in module.LIBRARIES}}
    return Stage(
        "evaluate",
        VERSION,
        answers.name,
        settings,
        {"answers": answers},
        {"name": name, "benchmark": benchmark.model_dump()},
    )


def run(work: StageContext) -> dict[str, Any]:
    benchmark = benchmark_of(work.stage.runtime["benchmark"])
    answered = sample.answers_of(work.folder("answers"))
    figures: dict[str, float]
    if benchmark.task is not None:
        graded = graded_by_lm_eval(answered)
        figures = work.records["answers"]["facts"]["figures"]
    else:
        rows = data.read_benchmark(benchmark)
        graded = grade(benchmark.kind, rows, answered, benchmark.score)
        verdicts = [verdict for one in graded for verdict in one.verdicts]
        figures = BENCHMARKS.module(benchmark.kind).further_scores(verdicts)
    write_graded(work.out / GRADES, graded)
    return {**summary(answered, graded), "figures": figures}


def grades_of(folder: Path) -> list[Graded]:
    return read_graded(folder / GRADES)
