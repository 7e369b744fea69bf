"""The local files of a study, checked when it is planned: their rows, columns and gradable answers."""

from collections.abc import Callable, Iterator

from evaluators.benchmarks import BENCHMARKS
from orchestrator.stages import data
from orchestrator.study.benchmarks import GradedBenchmark
from orchestrator.study.schema import Study


def mistakes_in_files(study: Study) -> Iterator[str]:
    """A line for each local JSONL file whose rows the study cannot use. Reads no other source."""
    for where, source, read in _sources(study):
        if source.endswith(".jsonl") and "://" not in source:
            try:
                read()
            except ValueError as error:
                yield f"{where}: {error}"


def _sources(study: Study) -> Iterator[tuple[str, str, Callable[[], object]]]:
    yield "prompts", study.prompts.source, lambda: data.load_prompts(study.prompts)
    if (problems := study.rl_problems) is not None:
        yield "rl_problems", problems.source, lambda: _check(problems.kind, data.load_problems(problems))
    for name, benchmark in study.benchmarks.items():
        if isinstance(benchmark, GradedBenchmark) and benchmark.source is not None:
            yield f"benchmarks.{name}", benchmark.source, _reader(benchmark)


def _reader(benchmark: GradedBenchmark) -> Callable[[], object]:
    return lambda: _check(benchmark.kind, data.load_examples(benchmark))


def _check(kind: str, rows: list[dict]) -> None:
    for row in rows:
        BENCHMARKS.module(kind).check(row)
