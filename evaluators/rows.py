"""Reads rows of prompts and benchmarks from a JSONL file, under any fsspec URI, or from a hub data set."""

import json
import random
from collections.abc import Mapping
from reprlib import repr as shortened
from typing import Any

import fsspec
from pydantic import TypeAdapter, ValidationError


def read_rows(source: str, configuration: str | None = None, split: str = "train") -> list[dict]:
    """All rows of a source: a JSONL file where its name ends in .jsonl, otherwise a data set id on the hub.

    Raises ValueError for a line that is not a JSON object, with its number.
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
                raise ValueError(f"{source}, line {number}: a row must be an object, not {type(row).__name__}")
            rows.append(row)
    return rows


def choose(rows: list[dict], n: int | None, seed: int) -> list[dict]:
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
                why = error.errors()[0]["msg"].replace("Input should be", "give")
                raise ValueError(
                    f'{source}, row {number}: the column "{column}" holds {shortened(row[column])}: {why}'
                ) from error
