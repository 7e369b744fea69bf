"""Rows of prompts and benchmarks: from a JSONL file under any fsspec URI, or a data set on the hub."""

import json
import random
from collections.abc import Iterable

import fsspec


def read_rows(source: str, configuration: str | None = None, split: str = "train") -> list[dict]:
    """All rows of a source. A name that ends in .jsonl is a file, anything else a hub id.

    Raises ValueError naming the line that is not a JSON object.
    """
    if not source.endswith(".jsonl"):
        import datasets

        return list(datasets.load_dataset(source, configuration, split=split))
    rows = []
    with fsspec.open(source, "rt", encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"{source}, line {number}: not JSON ({error})") from error
            if not isinstance(row, dict):
                raise ValueError(f"{source}, line {number}: a row is an object, not {type(row).__name__}")
            rows.append(row)
    return rows


def choose(rows: list[dict], n: int | None, seed: int) -> list[dict]:
    """`n` rows in an order drawn from the seed; a smaller `n` takes the first of them."""
    rows = list(rows)
    random.Random(seed).shuffle(rows)
    return rows if n is None else rows[:n]


def check_columns(rows: list[dict], columns: Iterable[str], source: str) -> None:
    """Raise ValueError where rows are missing, or miss a column."""
    if not rows:
        raise ValueError(f"{source}: no rows")
    for number, row in enumerate(rows, 1):
        for column in columns:
            if column not in row:
                has = ", ".join(sorted(row)) or "none"
                raise ValueError(f'{source}, row {number}: the column "{column}" is missing; it has {has}')
