"""Training prompts and benchmark examples: what identifies them, and how to read them where a stage runs.

The dataclasses identify data by content and are part of a stage's settings; `source` is what `identity` returns. A data
set's location (a path, a hub id or `synthetic`) is part of a stage's runtime: the same file elsewhere is the same data.
"""

import hashlib
import logging
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any

import fsspec

from evaluators.benchmarks import BENCHMARKS
from evaluators.engines.chat_template import Chat
from evaluators.imports import IMPORTS
from evaluators.rows import check_columns, choose, read_rows
from orchestrator.store.pins import pinned
from orchestrator.store.store import Store
from orchestrator.study.benchmarks import Benchmark
from orchestrator.study.prompts import SYNTHETIC, Problems, Prompts
from organisms.rows import WORLD_VERSION, benchmark_rows, training_prompts

log = logging.getLogger(__name__)
version_of = cache(metadata.version)


@dataclass(frozen=True, kw_only=True)
class PromptData:
    """Training prompts: `n` rows of `source` (None: all) in an order drawn from `seed`, after a message `system`.

    `maths` is the share of maths problems among synthetic prompts. `split` and the columns belong to other sources.
    """

    source: str
    n: int | None
    seed: int
    system: str | None
    maths: float = 0.0
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


@cache
def identity(source: str) -> str:
    """What identifies a source: the generator's version, a file's content, or a hub data set's name.

    Raises ValueError for a file that cannot be read.
    """
    if source == SYNTHETIC:
        return f"synthetic:{WORLD_VERSION}"
    if not source.endswith(".jsonl"):
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
    own = {"maths"} if prompts.source == SYNTHETIC else {"split", "column", "input_column"}
    return PromptData(source=identity(prompts.source), **prompts.model_dump(include={"n", "seed", "system"} | own))


def benchmark_data(benchmark: Benchmark) -> ExampleData:
    """What identifies a benchmark's examples; not for tasks of lm-eval. Raises ValueError for a missing file."""
    hub, configuration, split = BENCHMARKS.module(benchmark.kind).HUB
    own = f"hub:{hub}:{configuration}" if configuration else f"hub:{hub}"
    source = own if benchmark.source is None else identity(benchmark.source)
    split = "test" if benchmark.source == SYNTHETIC else split
    return ExampleData(kind=benchmark.kind, source=source, n=benchmark.n, seed=benchmark.seed, split=split)


def problem_data(problems: Problems) -> ExampleData:
    """What identifies the problems for RL. Raises ValueError for a missing file."""
    source = identity(problems.source)
    return ExampleData(kind=problems.kind, source=source, n=problems.n, seed=problems.seed, split="train")


def load_prompts(prompts: Prompts) -> list[Chat]:
    """The training prompts that a study declares; see `read_prompts`."""
    return read_prompts(prompt_data(prompts), prompts.source)


def load_examples(benchmark: Benchmark) -> list[dict]:
    """The rows of a benchmark that a study declares, not a task of lm-eval; see `read_examples`."""
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
        rows = _read(prompts.source, location, None, prompts.split, store)
        for key in ("column", "input_column"):
            if column := getattr(prompts, key):
                check_columns(rows, {column: Any}, f"prompts.{key}: {location}")
        if prompts.n is not None and len(rows) < prompts.n:
            raise ValueError(f"prompts.n: {prompts.n} prompts are asked for, but {location} has {len(rows)}")
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
    rows = _read(examples.source, source, configuration if location is None else None, examples.split, store)
    check_columns(rows, module.COLUMNS, source)
    if examples.n is not None and len(rows) < examples.n:
        raise ValueError(
            f"n: {examples.n} rows are asked for, but {source} has {len(rows)}: lower n, or give all rows of a "
            f"benchmark by n: all (n is 200 by default)"
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


def _read(identity: str, location: str, configuration: str | None, split: str, store: Store | None) -> list[dict]:
    """The rows at a location, which must be those of the identity."""
    revision = _commit(store, location) if store is not None and identity.startswith("hub:") else None
    try:
        return read_rows(location, configuration, split, revision=revision, sha256=sha256_of(identity))
    except FileNotFoundError as error:
        raise ValueError(f"{location}: there is no such file") from error


def sha256_of(identity: str | None) -> str | None:
    """The SHA-256 in the identity of a file; None for other sources."""
    return identity.removeprefix("sha256:") if identity is not None and identity.startswith("sha256:") else None


def _commit(store: Store, source: str) -> str | None:
    """The commit of a hub data set that the store has pinned; None where the hub cannot be asked for it."""
    with IMPORTS:
        from huggingface_hub import dataset_info

    try:
        return pinned(store, "datasets", source, lambda: str(dataset_info(source).sha))
    except Exception as error:  # noqa: BLE001  # Each way to have no network has an error of its own.
        log.warning("%s: its commit is not known (%s), so a local copy is used as it is", source, error)
        return None
