"""The files of a study, checked when it is planned: that they can be read, and columns and answers of local ones."""

from collections.abc import Callable, Iterator
from functools import partial

from evaluators.evaluate import chats_of, check_rows
from evaluators.lm_eval_tasks.index import check_name
from evaluators.rows import read_rows
from orchestrator.stages import data, dataset
from orchestrator.study.benchmarks import GradedBenchmark
from orchestrator.study.prompts import Problems
from orchestrator.study.schema import Study
from orchestrator.study.settings import is_local_file


def missing_files(study: Study) -> Iterator[str]:
    """A line for each file that cannot be read."""
    for where, source, _ in _files(study):
        try:
            data.identity(source)
        except ValueError as error:
            yield f"{where}.source: {error}"


def mistakes_in_files(study: Study) -> Iterator[str]:
    """A line for each local file whose rows the study cannot use, and for each task that lm-eval does not have.
    Reads no other source."""
    for where, source, read in _files(study):
        try:
            if is_local_file(source):
                read()
        except ValueError as error:
            yield str(error) if str(error).startswith(f"{where}.") else f"{where}: {error}"
    for name, benchmark in study.benchmarks.items():
        if benchmark.task is not None:
            try:
                check_name(benchmark.task)
            except ValueError as error:
                yield f"benchmarks.{name}: {error}"


def gradable(asked: GradedBenchmark | Problems) -> list[dict]:
    """The rows of a benchmark or of the problems for RL. Raises ValueError for one whose answers cannot be graded, and
    for a prompt that names a column which they do not have."""
    rows = data.load_problems(asked) if isinstance(asked, Problems) else data.load_examples(asked)
    check_rows(asked.kind, rows)
    chats_of(asked.kind, rows, asked.prompt)
    return rows


def _files(study: Study) -> Iterator[tuple[str, str, Callable[[], object]]]:
    """The place in the study, the path or URI, and a function that reads and checks the rows, of each source."""
    if study.prompts.source not in study.data:
        yield "prompts", study.prompts.source, partial(data.load_prompts, study.prompts)
    for name, declared in study.data.items():
        yield f"data.{name}", declared.source, partial(dataset.read, declared)
    places = {"rl_problems": study.rl_problems, **{f"benchmarks.{name}": b for name, b in study.benchmarks.items()}}
    for where, asked in places.items():
        if asked is not None and asked.source is not None:
            if isinstance(asked, GradedBenchmark | Problems):
                yield where, asked.source, partial(gradable, asked)
            else:
                yield where, asked.source, partial(read_rows, asked.source)
