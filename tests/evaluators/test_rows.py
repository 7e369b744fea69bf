"""Reading and choosing rows."""

import json
from typing import Any

import pytest

from evaluators.rows import check_columns, choose, read_rows

ROWS = [{"id": i} for i in range(50)]


@pytest.mark.parametrize("seed", [0, 1])
def test_a_smaller_choice_is_a_prefix_of_a_larger_one(seed):
    every = choose(ROWS, None, seed)
    assert sorted(row["id"] for row in every) == list(range(50))
    for n in (1, 10, 49, 50):
        assert choose(ROWS, n, seed) == every[:n]


def test_the_choice_depends_on_the_seed_and_does_not_change_the_rows():
    rows = list(ROWS)
    assert choose(rows, 10, 3) == choose(rows, 10, 3)
    assert choose(rows, 10, 3) != choose(rows, 10, 4)
    assert choose(rows, 10, 3) != rows[:10]
    assert rows == ROWS


def test_rows_are_read_as_written(tmp_path):
    rows = [{"text": "gr\u00f6\u00dfer\nzweite Zeile", "n": 1.5}, {"text": None}]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n\n", encoding="utf-8")
    assert read_rows(str(path)) == rows
    assert read_rows(f"file://{path}") == rows


@pytest.mark.parametrize(
    ("line", "message"), [('{"a": 1', "not JSON"), ("[1, 2]", "a row must be an object, not list"), ("3", "not int")]
)
def test_a_bad_line_is_named(tmp_path, line, message):
    path = tmp_path / "rows.jsonl"
    path.write_text(f'{{"a": 1}}\n\n{line}\n{{"a": 2}}\n')
    with pytest.raises(ValueError, match=rf"rows\.jsonl, line 3: .*{message}"):
        read_rows(str(path))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"a": "\xff"}', "not UTF-8"),
        (rb'{"a": ["\ud83d x"]}', r"'\\ud83d' is half of a surrogate pair"),
        (rb'{"\udc00": 1}', r"'\\udc00' is half of a surrogate pair"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_line_that_is_no_text_is_named(tmp_path, line, message):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": "\\ud83e\\udd8a"}\n' + line + b"\n")
    with pytest.raises(ValueError, match=rf"rows\.jsonl, line 2: .*{message}"):
        read_rows(str(path))
    path.write_bytes(b'{"a": "\\ud83e\\udd8a"}\r\n')
    assert read_rows(str(path)) == [{"a": "\N{FOX FACE}"}]


def test_a_missing_column_is_named_with_the_columns_that_exist():
    check_columns([{"a": 1, "b": None}], {"a": int, "b": Any}, "source")
    with pytest.raises(ValueError, match='source, row 2: the column "b" is missing; it has a, c'):
        check_columns([{"a": 1, "b": 2}, {"c": 1, "a": 1}], {"a": int, "b": int}, "source")
    with pytest.raises(ValueError, match="source: no rows"):
        check_columns([], {"a": int}, "source")
