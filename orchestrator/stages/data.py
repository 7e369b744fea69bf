"""Training prompts and benchmark rows: what identifies them, and how they are read where a stage runs."""

from functools import cache
from importlib import metadata
from typing import Any

import fsspec

from evaluators.benchmarks import BENCHMARKS
from evaluators.rows import check_columns, choose, read_rows
from orchestrator.study.benchmarks import Benchmark
from orchestrator.study.prompts import SYNTHETIC, Problems, Prompts
from organisms.rows import WORLD_VERSION, benchmark_rows, training_prompts

version_of = cache(metadata.version)


def prompts_identity(prompts: Prompts) -> dict[str, Any]:
    """All that decides which prompts are asked, in which words."""
    common = {"n": prompts.n, "seed": prompts.seed, "system": prompts.system}
    if prompts.source == SYNTHETIC:
        mixed = {"maths": prompts.maths} if prompts.maths else {}  # Without any, prompts are what they were before.
        return {**common, "source": SYNTHETIC, "world": WORLD_VERSION, **mixed}
    return {
        **common,
        "source": _source_identity(prompts.source),
        "split": prompts.split,
        "column": prompts.column,
        "input_column": prompts.input_column,
    }


def read_prompts(prompts: Prompts) -> list[list[dict[str, str]]]:
    """The prompts as chats. Raises ValueError for an empty set, a missing column, or fewer prompts than asked for."""
    if prompts.source == SYNTHETIC:
        if prompts.n is None:
            raise ValueError("prompts.n: say how many; the organisms' world has no end of prompts")
        rows = training_prompts(prompts.n, prompts.seed, prompts.maths)
    else:
        rows = _read(prompts.source, None, prompts.split)
        columns = [prompts.column] + ([prompts.input_column] if prompts.input_column else [])
        check_columns(rows, columns, prompts.source)
        if prompts.n is not None and len(rows) < prompts.n:
            raise ValueError(f"prompts.n: {prompts.n} prompts are asked for, but {prompts.source} has {len(rows)}")
        rows = choose(rows, prompts.n, prompts.seed)
    system = [{"role": "system", "content": prompts.system}] if prompts.system else []
    return [[*system, {"role": "user", "content": _text(i, row, prompts)}] for i, row in enumerate(rows, 1)]


def _text(number: int, row: dict, prompts: Prompts) -> str:
    if not isinstance(row[prompts.column], str) or not row[prompts.column].strip():
        raise ValueError(f'{prompts.source}, row {number}: the column "{prompts.column}" holds no text')
    extra = row[prompts.input_column] if prompts.input_column else ""
    return f"{row[prompts.column]}\n\n{extra}" if extra else row[prompts.column]


def rows_identity(benchmark: Benchmark) -> dict[str, Any]:
    """All that decides which rows a benchmark asks."""
    common = {"n": benchmark.n, "seed": benchmark.seed}
    if benchmark.source == SYNTHETIC:
        return {**common, "source": SYNTHETIC, "world": WORLD_VERSION}
    if benchmark.source is not None:
        return {**common, "source": _source_identity(benchmark.source)}
    if benchmark.task is not None:
        return {**common, "source": {"task": benchmark.task}}
    return {**common, "source": {"hub": list(BENCHMARKS.module(benchmark.kind).HUB)}}


def read_benchmark(benchmark: Benchmark) -> list[dict]:
    """The rows that a benchmark asks. Raises ValueError for none, a missing column, or fewer than asked for.

    The rows of a task of lm-eval are its own affair, and not read here.
    """
    if benchmark.source == SYNTHETIC:
        assert benchmark.n is not None
        return benchmark_rows(benchmark.kind, benchmark.n, benchmark.seed)
    module = BENCHMARKS.module(benchmark.kind)
    hub, configuration, split = module.HUB
    source = benchmark.source or hub
    rows = _read(source, configuration if benchmark.source is None else None, split)
    check_columns(rows, module.COLUMNS, source)
    if benchmark.n is not None and len(rows) < benchmark.n:
        raise ValueError(f"n: {benchmark.n} rows are asked for, but {source} has {len(rows)}")
    return choose(rows, benchmark.n, benchmark.seed)


def problems_identity(problems: Problems) -> dict[str, Any]:
    """All that decides which problems are asked."""
    common = {"n": problems.n, "seed": problems.seed}
    if problems.source == SYNTHETIC:
        return {**common, "source": SYNTHETIC, "world": WORLD_VERSION}
    return {**common, "source": _source_identity(problems.source)}


def read_problems(problems: Problems) -> list[dict]:
    """The problems to be rewarded for. Raises ValueError for none, a missing column, or fewer than asked for."""
    if problems.source == SYNTHETIC:
        return benchmark_rows(problems.kind, problems.n, problems.seed, test=False)
    module = BENCHMARKS.module(problems.kind)
    rows = _read(problems.source, None, "train")
    check_columns(rows, module.COLUMNS, problems.source)
    if len(rows) < problems.n:
        raise ValueError(f"n: {problems.n} rows are asked for, but {problems.source} has {len(rows)}")
    return choose(rows, problems.n, problems.seed)


def _read(source: str, configuration: str | None, split: str) -> list[dict]:
    try:
        return read_rows(source, configuration, split)
    except FileNotFoundError as error:
        raise ValueError(f"{source}: there is no such file") from error


@cache
def _source_identity(source: str) -> dict[str, Any]:
    """A file is identified by its content, wherever it lies; a hub data set by its name."""
    if not source.endswith(".jsonl"):
        return {"hub": source}
    import hashlib

    try:
        with fsspec.open(source, "rb") as file:
            return {"sha256": hashlib.sha256(file.read()).hexdigest()}
    except FileNotFoundError as error:
        raise ValueError(f"{source}: there is no such file") from error
