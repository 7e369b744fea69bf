"""Training prompts and benchmark examples: what identifies them, and how to read them where a stage runs.

The dataclasses identify data by content and are part of a stage's settings; `source` is what `identity` returns. A data
set's location (a path, a hub id or `synthetic`) is part of a stage's runtime: the same file elsewhere is the same data.
"""

import hashlib
import logging
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from typing import Any

import fsspec

from evaluators.benchmarks import BENCHMARKS
from evaluators.engines.chat_template import Chat
from evaluators.identity import ADDED
from evaluators.imports import IMPORTS
from evaluators.rows import check_columns, choose, in_part, is_file, read_rows
from orchestrator.store.pins import pinned
from orchestrator.store.store import Store
from orchestrator.study.benchmarks import GradedBenchmark
from orchestrator.study.prompts import SYNTHETIC, Problems, Prompts
from organisms.rows import WORLD_VERSION, benchmark_rows, training_prompts

log = logging.getLogger(__name__)
version_of = cache(metadata.version)


@dataclass(frozen=True, kw_only=True)
class PromptData:
    """Training prompts: `n` rows of `source` (None: all) in an order drawn from `seed`, after a message `system`.

    `maths` is the share of maths problems among synthetic prompts. `part`, `split` and the columns belong to other
    sources.
    """

    source: str
    n: int | None
    seed: int
    system: str | None
    maths: float = 0.0
    part: str | None = field(default=None, metadata=ADDED)
    split: str | None = None
    column: str | None = None
    input_column: str | None = None


@dataclass(frozen=True, kw_only=True)
class ExampleData:
    """Examples in the schema of the benchmark `kind`: `n` rows of `source` (None: all), drawn by `seed`."""

    kind: str
    source: str
    n: int | None
    seed: int
    split: str
    part: str | None = field(default=None, metadata=ADDED)


@cache
def identity(source: str) -> str:
    """What identifies a source: the generator's version, a file's content, or a hub data set's name.

    Raises ValueError for a file that cannot be read.
    """
    if source == SYNTHETIC:
        return f"synthetic:{WORLD_VERSION}"
    if not is_file(source):
        return f"hub:{source}"
    try:
        with fsspec.open(source, "rb") as file:
            return f"sha256:{hashlib.sha256(file.read()).hexdigest()}"
    except FileNotFoundError as error:
        raise ValueError(f"{source}: there is no such file (paths are relative to the working directory)") from error
    except Exception as error:  # Each of fsspec's file systems has errors of its own.
        raise ValueError(
            f"{source}: cannot be read ({type(error).__name__}: {error}): check its name, your credentials for it, and "
            f"that the package of its protocol is installed, such as s3fs"
        ) from error


def prompt_data(prompts: Prompts) -> PromptData:
    """What identifies a study's training prompts. Raises ValueError for a missing file."""
    own = {"maths"} if prompts.source == SYNTHETIC else {"part", "split", "column", "input_column"}
    return PromptData(source=identity(prompts.source), **prompts.model_dump(include={"n", "seed", "system"} | own))


def benchmark_data(benchmark: GradedBenchmark) -> ExampleData:
    """What identifies a benchmark's examples. Raises ValueError for a missing file."""
    hub, _, split = BENCHMARKS.module(benchmark.kind).HUB
    source = _identity(benchmark.kind, benchmark.source or hub)
    split = "test" if benchmark.source == SYNTHETIC else split
    return ExampleData(
        kind=benchmark.kind, source=source, n=benchmark.n, seed=benchmark.seed, split=split, part=benchmark.part
    )


def problem_data(problems: Problems) -> ExampleData:
    """What identifies the problems for RL. Raises ValueError for a missing file."""
    source, split = _identity(problems.kind, problems.source), "train"
    if problems.source == BENCHMARKS.module(problems.kind).HUB[0]:
        split = BENCHMARKS.module(problems.kind).TRAIN or split
    return ExampleData(
        kind=problems.kind, source=source, n=problems.n, seed=problems.seed, split=split, part=problems.part
    )


def _identity(kind: str, source: str) -> str:
    """What identifies a source of a benchmark's rows; of its own data set also the configuration."""
    hub, configuration, _ = BENCHMARKS.module(kind).HUB
    return f"hub:{hub}:{configuration}" if source == hub and configuration else identity(source)


def load_prompts(prompts: Prompts) -> list[Chat]:
    """The training prompts that a study declares, not those of a data set; see `read_prompts`."""
    return read_prompts(prompt_data(prompts), prompts.source)


def load_examples(benchmark: GradedBenchmark) -> list[dict]:
    """The rows of a benchmark that a study declares; see `read_examples`."""
    return read_examples(benchmark_data(benchmark), benchmark.source)


def load_problems(problems: Problems) -> list[dict]:
    """The problems for RL that a study declares; see `read_examples`."""
    return read_examples(problem_data(problems), problems.source)


def read_prompts(prompts: PromptData, location: str, store: Store | None = None) -> list[Chat]:
    """The prompts as chats. A hub data set is read at the commit that the store has pinned.

    Raises ValueError for no rows, a missing column, too few rows, or a file that is not the one that was planned.
    """
    if location == SYNTHETIC:
        if prompts.n is None:
            raise ValueError("prompts.n: say how many; synthetic prompts have no end")
        texts = [row["instruction"] for row in training_prompts(prompts.n, prompts.seed, prompts.maths)]
    else:
        assert prompts.split is not None
        rows = read_source(prompts.source, location, None, prompts.split, store)
        for key in ("column", "input_column"):
            if column := getattr(prompts, key):
                check_columns(rows, {column: Any}, f"prompts.{key}: {location}")
        rows = [row for row in rows if in_part(str(row[prompts.column]), prompts.part)]
        if not rows or (prompts.n or 0) > len(rows):
            raise ValueError(
                f"prompts.n: {prompts.n or 'all'} prompts are asked for, but {_named(location, prompts.part)} has "
                f"{len(rows)}"
            )
        rows = choose(rows, prompts.n, prompts.seed)
        texts = [_text(i, row, prompts, location) for i, row in enumerate(rows, 1)]
    system = [{"role": "system", "content": prompts.system}] if prompts.system else []
    return [[*system, {"role": "user", "content": text}] for text in texts]


def _text(number: int, row: dict, prompts: PromptData, location: str) -> str:
    text = row[prompts.column]
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f'{location}, row {number}: the column "{prompts.column}" holds no text')
    extra = row[prompts.input_column] if prompts.input_column else ""
    return f"{text}\n\n{extra}" if extra else text


def read_examples(examples: ExampleData, location: str | None, store: Store | None = None) -> list[dict]:
    """The rows of a benchmark or of problems for RL; `location` None is the benchmark's own hub data set.

    A hub data set is read at the commit that the store has pinned. Raises ValueError for no rows, a missing column, too
    few rows, or a file that is not the one that was planned.
    """
    if location == SYNTHETIC:
        assert examples.n is not None
        return benchmark_rows(examples.kind, examples.n, examples.seed, test=examples.split == "test")
    module = BENCHMARKS.module(examples.kind)
    hub, configuration, _ = module.HUB
    source = location or hub
    rows = read_source(examples.source, source, configuration if source == hub else None, examples.split, store)
    check_columns(rows, module.COLUMNS, source)
    asked = next(iter(module.COLUMNS))
    rows = [row for row in rows if in_part(row[asked], examples.part)]
    if not rows or (examples.n or 0) > len(rows):
        raise ValueError(
            f"n: {examples.n or 'all'} rows are asked for, but {_named(source, examples.part)} has {len(rows)}: lower "
            f"n, or give all rows of a benchmark by n: all (n is 200 by default)"
        )
    return choose(rows, examples.n, examples.seed)


@cache
def most_prompts(prompts: PromptData, location: str) -> int:
    """`n`, without a check that the source has as many; or the number of prompts in the source.

    Raises ValueError for a source that must be read and cannot be.
    """
    try:
        return prompts.n or len(read_prompts(prompts, location))
    except OSError as error:
        raise ValueError(f"prompts.n: give a number, since {location} cannot be read to count it ({error})") from error


def _named(location: str, part: str | None) -> str:
    return location if part is None else f"the part {part} of {location}"


def read_source(
    identity: str | None,
    location: str,
    configuration: str | None,
    split: str,
    store: Store | None,
    revision: str | None = None,
) -> list[dict]:
    """The rows at a location, which must be those of the identity (None: not compared).

    A hub data set is read at the commit that the store has pinned, for its revision if one is given.
    """
    if store is not None and not is_file(location):
        revision = _commit(store, location, revision)
    try:
        return read_rows(location, configuration, split, revision=revision, sha256=sha256_of(identity))
    except FileNotFoundError as error:
        raise ValueError(f"{location}: there is no such file") from error


def sha256_of(identity: str | None) -> str | None:
    """The SHA-256 in the identity of a file; None for other sources."""
    return identity.removeprefix("sha256:") if identity is not None and identity.startswith("sha256:") else None


def _commit(store: Store, source: str, revision: str | None) -> str | None:
    """The commit of a hub data set that the store has pinned; the revision where the hub cannot be asked for it."""
    with IMPORTS:
        from huggingface_hub import dataset_info

    name = source if revision is None else f"{source}@{revision}"
    try:
        return pinned(store, "datasets", name, lambda: str(dataset_info(source, revision=revision).sha))
    except Exception as error:  # noqa: BLE001  # Each way to have no network has an error of its own.
        log.warning("%s: its commit is not known (%s), so a local copy is used as it is", name, error)
        return revision
