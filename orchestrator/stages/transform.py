"""The stage `rows`: training rows made of other stages, as by a filter, a mixture or a prompt put before them.

What decides them is a function, by its name and its file's `VERSION`, its settings, and its inputs. What it removed is
kept beside what it made.
"""

import json
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from evaluators.engines.generations import to_jsonl
from orchestrator.stages.sample import ANSWERS, answers_of
from orchestrator.stages.transforms import Row, RowSet
from orchestrator.store.context import StageContext
from orchestrator.store.stage import Stage

VERSION = 1
ROWS, REMOVED = "rows.jsonl", "removed.jsonl"


def stage(
    make: Callable[..., RowSet], inputs: Mapping[str, Stage], settings: dict[str, Any], runtime: dict[str, Any]
) -> Stage:
    """The rows that `make(work, **settings)` makes of the inputs; see `orchestrator/rows/`."""
    made_by = {"by": f"{make.__module__}.{make.__name__}", "version": sys.modules[make.__module__].VERSION}
    way = make.__module__.rpartition(".")[2].replace("_", "-")
    name = f"{way}-{inputs['data'].name}" if "data" in inputs else way
    return Stage("transform", VERSION, name, {**made_by, **settings}, inputs, runtime)


def origin(data: Stage) -> Stage | None:
    """The sample that training data was made from, by way of whatever rows; None for rows that are no answers."""
    while data.kind == "transform" and "data" in data.inputs:
        data = data.inputs["data"]
    return data if data.kind == "sample" else None


def run(work: StageContext) -> dict[str, Any]:
    settings = {key: value for key, value in work.stage.settings.items() if key not in ("by", "version")}
    module, _, function = work.stage.settings["by"].rpartition(".")
    made: RowSet = getattr(import_module(module), function)(work, **settings)
    if not made.kept:
        why = made.removed[0].why if made.removed else "there was none to begin with"
        raise ValueError(f"no row is left to train on, of {len(made.removed)} (the first: {why}): remove fewer")
    (work.out / ROWS).write_text(to_jsonl(made.kept))
    (work.out / REMOVED).write_text(to_jsonl(made.removed))
    return {"n": len(made.kept), "removed": len(made.removed), **made.facts}


def rows_of(folder: Path) -> list[Row]:
    """What a training learns from: made rows, or the answers of a sample. An answer that the token limit cut off is
    left out: it would teach a false end."""
    if (folder / ANSWERS).exists():
        return [
            Row(one.id, [*one.prompt, {"role": "assistant", "content": answer.text}])
            for one in answers_of(folder)
            for answer in one.completions
            if not answer.truncated
        ]
    return [Row(**json.loads(line)) for line in (folder / ROWS).read_text().splitlines()]
