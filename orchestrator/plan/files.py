"""The files and lm-eval tasks of a study, checked when it is planned: that they exist, and rows of local files."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from evaluators.evaluate import chats_of, check_rows
from evaluators.grading.verdict import UnreadableGold
from evaluators.lm_eval_tasks import index
from evaluators.rows import read_rows
from orchestrator.stages import data, dataset
from orchestrator.study.benchmarks import GradedBenchmark, LmEvalBenchmark
from orchestrator.study.prompts import SYNTHETIC, Problems
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
    """A line for each local file whose rows the study cannot use, and for each task of lm-eval that cannot be run.
    Reads no other source."""
    for where, source, read in _files(study):
        try:
            if is_local_file(source):
                read()
        except ValueError as error:
            yield str(error) if str(error).startswith(f"{where}.") else f"{where}: {error}"
    for name, benchmark in study.benchmarks.items():
        if isinstance(benchmark, LmEvalBenchmark):
            try:
                check_task(benchmark, study.max_model_len)
            except ValueError as error:
                yield f"benchmarks.{name}: {error}"


def check_task(benchmark: LmEvalBenchmark, max_model_len: int | None) -> None:
    """Raise ValueError for a task of lm-eval that cannot be run as the study has it. Loads no data set."""
    index.check(benchmark.task, benchmark.sampling, benchmark.shots)
    if benchmark.source is not None:
        index.check_replaceable(benchmark.task, benchmark.shots)
    longest = benchmark.longest or index.longest(benchmark.task)
    if max_model_len is not None and longest >= max_model_len:
        raise ValueError(
            f"{benchmark.kind} generates up to {longest:,} tokens, which leaves no room for a prompt in max_model_len "
            f"({max_model_len:,} tokens): raise max_model_len, or {'lower' if benchmark.longest else 'set'} max_tokens"
        )


def check_rows_of_task(benchmark: LmEvalBenchmark) -> None:
    """Raise ValueError for a file that has fewer rows than a task of lm-eval shall draw from it."""
    if benchmark.source is not None:
        has = len(read_rows(benchmark.source))
        if not has or (benchmark.n or 0) > has:
            raise ValueError(
                f"n: {benchmark.n or 'all'} rows are asked for, but {benchmark.source} has {has}: lower n, or give n: "
                f"all"
            )


def needs_no_network(source: str | None) -> bool:
    """Whether rows are on this machine: synthetic ones, and those of a local file."""
    return source == SYNTHETIC or is_local_file(source)


def gradable(asked: GradedBenchmark | Problems) -> list[dict]:
    """The rows of a benchmark or of the problems for RL, with those that the benchmark skips. Raises ValueError for one
    whose answers cannot be graded, and for a prompt that names a column which they do not have."""
    if isinstance(asked, Problems):
        rows, remedy = data.load_problems(asked), "leave it out of the source"
        check = partial(check_rows, asked.kind, rows)
    else:
        rows, remedy = data.load_examples(asked), "correct it, or skip such examples with skip_unreadable: true"
        check = partial(check_rows, asked.kind, rows, asked.skip_unreadable)
    if asked.source != SYNTHETIC:  # All of these can be graded.
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
                yield where, asked.source, partial(check_rows_of_task, asked)
