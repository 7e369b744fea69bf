"""The local files of a study, checked when it is planned: that they exist, their columns and gradable answers."""

import os
from collections.abc import Callable, Iterator
from functools import partial

from evaluators.evaluate import check_rows
from orchestrator.stages import data
from orchestrator.study.benchmarks import GradedBenchmark
from orchestrator.study.prompts import Problems
from orchestrator.study.schema import Study
from orchestrator.study.settings import is_local_file


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


def gradable(asked: GradedBenchmark | Problems) -> list[dict]:
    """The rows of a benchmark or of the problems for RL. Raises ValueError for one whose answers cannot be graded."""
    rows = data.load_problems(asked) if isinstance(asked, Problems) else data.load_examples(asked)
    check_rows(asked.kind, rows)
    return rows


def _local_files(study: Study) -> Iterator[tuple[str, str, Callable[[], object]]]:
    """The place in the study, the path, and a function that reads and checks the rows, of each local file."""
    if is_local_file(study.prompts.source):
        yield "prompts", study.prompts.source, partial(data.load_prompts, study.prompts)
    places = {"rl_problems": study.rl_problems, **{f"benchmarks.{name}": b for name, b in study.benchmarks.items()}}
    for where, asked in places.items():
        if isinstance(asked, GradedBenchmark | Problems) and is_local_file(asked.source):
            yield where, str(asked.source), partial(gradable, asked)
