"""The files of a study, checked when it is planned: that they can be read, and columns and answers of local ones."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from evaluators.evaluate import chats_of, check_rows
from evaluators.grading.verdict import UnreadableGold
from evaluators.lm_eval_tasks.index import check_name
from evaluators.rows import read_rows
from orchestrator.stages import data, dataset
from orchestrator.study.benchmarks import GradedBenchmark
from orchestrator.study.prompts import Problems
from orchestrator.study.schema import Study
from orchestrator.study.settings import is_local_file

SHOWN = 5  # skipped examples in a sentence


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
    """The rows of a benchmark or of the problems for RL, with those that the benchmark skips. Raises ValueError for one
    whose answers cannot be graded, and for a prompt that names a column which they do not have."""
    if isinstance(asked, Problems):
        rows, remedy = data.load_problems(asked), "leave it out of the source"
        check = partial(check_rows, asked.kind, rows)
    else:
        rows, remedy = data.load_examples(asked), "correct it, or skip such examples with skip_unreadable: true"
        check = partial(check_rows, asked.kind, rows, asked.skip_unreadable)
    try:
        check()
    except UnreadableGold as error:
        raise ValueError(f"{error}: {remedy}") from error
    chats_of(asked.kind, rows, asked.prompt)
    return rows


def notes_on_skipped(study: Study, names: Iterable[str]) -> Iterator[str]:
    """A note for each of these benchmarks that may skip examples: how many it does, and which. Reads their rows."""
    for name in names:
        benchmark = study.benchmarks[name]
        if isinstance(benchmark, GradedBenchmark) and benchmark.skip_unreadable:
            rows = data.load_examples(benchmark)
            skipped = check_rows(benchmark.kind, rows, skip_unreadable=True)
            if skipped:
                yield f"Note: benchmarks.{name}: {skipped_text(list(skipped.values()), len(rows))}."
            else:
                yield f"Note: benchmarks.{name}.skip_unreadable has no effect: all gold answers can be read."


def local_benchmarks(study: Study) -> list[str]:
    """The benchmarks whose rows are in files on this machine."""
    return [name for name, benchmark in study.benchmarks.items() if is_local_file(benchmark.source)]


def skipped_text(skipped: Sequence[str], n: int) -> str:
    """How many of `n` examples are skipped, and the first of them, in a sentence."""
    more = f"; and {len(skipped) - SHOWN} more" if len(skipped) > SHOWN else ""
    return f"{len(skipped)} of {n:,} examples are skipped: {'; '.join(skipped[:SHOWN])}{more}"


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
