"""Reads rows from a JSONL, Parquet or text file, under any fsspec URI, or from a hub data set."""

import hashlib
import io
import json
import random
from collections.abc import Mapping
from reprlib import repr as shortened
from typing import Any, TypeVar

import fsspec
from pydantic import TypeAdapter, ValidationError

from evaluators.imports import IMPORTS
from evaluators.messages import in_plain_words

Drawn = TypeVar("Drawn")
FILES = (".jsonl", ".parquet", ".txt")  # A source with another ending is a data set of the hub.
PARTS = {"train": 0.8, "validation": 0.1, "test": 0.1}


def is_file(source: str) -> bool:
    """Whether a source is a file, and no data set of the hub."""
    return source.endswith(FILES)


def read_rows(
    source: str,
    configuration: str | None = None,
    split: str = "train",
    *,
    revision: str | None = None,
    sha256: str | None = None,
) -> list[dict]:
    """All rows of a source: a JSONL or Parquet file, a text file as one row {"text": ...}, or a data set of the hub.

    Raises ValueError for a line that is not a JSON object in UTF-8, with its number. Likewise for a file that is not
    Parquet, and for one whose content has not the given SHA-256 (in hex).
    """
    if not is_file(source):
        with IMPORTS:
            import datasets

        return list(datasets.load_dataset(source, configuration, split=split, revision=revision))
    with IMPORTS:
        opened = fsspec.open(source, "rb")  # It imports the package of a protocol, as s3fs.
    with opened as file:
        content = file.read()
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError(
            f"{source} has changed since the study was planned, and its results would count as those of the earlier "
            f"file: restore it, or start the study again with the changed file"
        )
    if source.endswith(".parquet"):
        return _parquet_rows(content, source)
    if source.endswith(".txt"):
        try:
            return [{"text": content.decode()}]
        except UnicodeDecodeError as error:
            raise ValueError(f"{source}: {_not_utf8(error)}") from error
    rows = []
    for number, line in enumerate(content.split(b"\n"), 1):
        if line.strip():
            try:
                rows.append(_row(line))
            except ValueError as error:
                raise ValueError(f"{source}, line {number}: {error}") from error
    return rows


def _parquet_rows(content: bytes, source: str) -> list[dict]:
    with IMPORTS:
        import pyarrow
        from pyarrow import parquet

    try:
        return parquet.read_table(io.BytesIO(content)).to_pylist()
    except pyarrow.ArrowException as error:
        raise ValueError(f"{source}: not a Parquet file ({error})") from error


def _not_utf8(error: UnicodeDecodeError) -> str:
    return f"not UTF-8 ({error.reason} at byte {error.start}): save the file as UTF-8"


def in_part(text: str, part: str | None) -> bool:
    """Whether a prompt belongs to a part; None: all do."""
    return part is None or part_of(text) == part


def part_of(text: str) -> str:
    """The part (train, validation or test) to which a prompt belongs, by a hash of its text alone.

    A text is in the same part of every data set that has it, so parts never overlap.
    """
    place, end = int(hashlib.sha256(text.strip().encode()).hexdigest()[:8], 16) / 16**8, 0.0
    for part, share in PARTS.items():
        end += share
        if place < end:
            return part
    return part


def _row(line: bytes) -> dict:
    """The row of a line. Raises ValueError for one that is not a JSON object, or has half of a surrogate pair."""
    try:
        text = line.decode()
        row = json.loads(text)
        if "\\u" in text:  # JSON may escape what no text can hold.
            json.dumps(row, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        raise ValueError(_not_utf8(error)) from error
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{error.object[error.start]!a} is half of a surrogate pair, which is no character: remove it"
        ) from error
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"not JSON ({error})") from error
    if not isinstance(row, dict):
        raise ValueError(f"a row must be an object, not {type(row).__name__}")
    return row


def choose(rows: list[Drawn], n: int | None, seed: int) -> list[Drawn]:
    """`n` rows in an order drawn from the seed (None: all); a smaller `n` gives the first of a larger `n`'s rows."""
    rows = list(rows)
    random.Random(seed).shuffle(rows)
    return rows if n is None else rows[:n]


def check_columns(rows: list[dict], columns: Mapping[str, Any], source: str) -> None:
    """Raise ValueError where there are no rows, or a row lacks a column or has a value of another type in it.
    `columns` has the types by name."""
    if not rows:
        raise ValueError(f"{source}: no rows")
    types = {column: TypeAdapter(each) for column, each in columns.items()}
    for number, row in enumerate(rows, 1):
        for column, each in types.items():
            if column not in row:
                has = ", ".join(sorted(row)) or "none"
                raise ValueError(f'{source}, row {number}: the column "{column}" is missing; it has {has}')
            try:
                each.validate_python(row[column], strict=True)
            except ValidationError as error:
                raise ValueError(
                    f'{source}, row {number}: the column "{column}" holds {shortened(row[column])}: '
                    f"{in_plain_words(error.errors()[0])}"
                ) from error
