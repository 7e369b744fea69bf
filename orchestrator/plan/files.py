"""The local files of a study, checked when it is planned: that they exist, their columns and gradable answers."""

import os
from collections.abc import Callable, Iterator

from evaluators.evaluate import check_rows
from orchestrator.stages import data
from orchestrator.study.benchmarks import GradedBenchmark
from orchestrator.study.schema import Study


def missing_files(study: Study) -> Iterator[str]:
    """A line for each local JSONL file that does not exist."""
    for where, source, _ in _local_files(study):
        if not os.path.isfile(source):
            yield f"{where}.source: {source}: there is no such file (paths are relative to the working directory)"


def mistakes_in_files(study: Study) -> Iterator[str]:
    """A line for each local JSONL file whose rows the study cannot use. Reads no other source."""
    for where, _, read in _local_files(study):
        try:
            read()
        except ValueError as error:
            yield f"{where}: {error}"


def _local_files(study: Study) -> Iterator[tuple[str, str, Callable[[], object]]]:
    """The place in the study, the path, and a function that reads and checks the rows, of each local file."""
    return (one for one in _sources(study) if one[1].endswith(".jsonl") and "://" not in one[1])


def _sources(study: Study) -> Iterator[tuple[str, str, Callable[[], object]]]:
    yield "prompts", study.prompts.source, lambda: data.load_prompts(study.prompts)
    if (problems := study.rl_problems) is not None:
        yield "rl_problems", problems.source, lambda: check_rows(problems.kind, data.load_problems(problems))
    for name, benchmark in study.benchmarks.items():
        if isinstance(benchmark, GradedBenchmark) and benchmark.source is not None:
            yield f"benchmarks.{name}", benchmark.source, _reader(benchmark)


def _reader(benchmark: GradedBenchmark) -> Callable[[], object]:
    return lambda: check_rows(benchmark.kind, data.load_examples(benchmark))
