"""The stage `transform`: training rows made from other stages, as by a filter, a mixture or another prompt.

The rows are decided by the transformation's name, its `VERSION`, its options and the inputs. The stage's folder also
has the removed rows.
"""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluators.engines.generations import to_jsonl
from orchestrator.stages import dataset
from orchestrator.stages.sample import GENERATIONS, generations_of
from orchestrator.stages.transforms import Row, RowSet
from orchestrator.store.context import StageContext
from orchestrator.store.stage import Runtime, Stage

VERSION = 1
ROWS, REMOVED = "rows.jsonl", "removed.jsonl"


@dataclass(frozen=True, kw_only=True)
class TransformSettings:
    """A transformation by its name (its file's), its file's `VERSION`, and its options."""

    transform: str
    version: int
    options: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class TransformRuntime(Runtime):
    """`apply` is the transformation; `location` is where a data set among its options is, if there is one."""

    apply: Callable[..., RowSet]
    location: str | None = None


def stage(
    apply: Callable[..., RowSet], inputs: Mapping[str, Stage], options: Mapping[str, Any], location: str | None = None
) -> Stage:
    """The rows of `apply(context, **options)`; see `orchestrator/stages/transforms/`."""
    name = apply.__module__.rpartition(".")[2]
    settings = TransformSettings(transform=name, version=sys.modules[apply.__module__].VERSION, options=options)
    readable = "-".join([name.replace("_", "-"), *([inputs["data"].name] if "data" in inputs else [])])
    return Stage("transform", VERSION, readable, settings, inputs, TransformRuntime(apply=apply, location=location))


def origin(data: Stage) -> Stage | None:
    """The sample or data set from which training data was made, through any transformations; None for rows without a
    prompt."""
    made_from = _first(data)
    return None if made_from.kind == "transform" or dataset.is_text(made_from) else made_from


def most_rows_made(data: Stage) -> int | None:
    """The most rows of a data set, or of a transformation that says how many it makes; None for what was made from a
    sample or like one."""
    made_from = _first(data)
    if made_from.kind == "dataset":
        return dataset.most_rows(made_from)
    return made_from.settings.options["n"] if made_from.kind == "transform" else None


def _first(data: Stage) -> Stage:
    while data.kind == "transform" and "data" in data.inputs:
        data = data.inputs["data"]
    return data


def complete_rows(data: Stage, facts: Mapping[str, Any]) -> int:
    """How many training rows a finished stage has (see `rows_of`), by the facts of its record.

    It is never more than `rows_of` reads: a completion that is truncated and has failed counts in both facts.
    """
    if data.kind != "sample":
        return facts["n"]
    return round(facts["n"] * (1 - facts["truncated"])) - facts.get("failed", 0)


def run(context: StageContext) -> dict[str, Any]:
    rows: RowSet = context.stage.runtime.apply(context, **context.stage.settings.options)
    if not rows.kept:
        why = rows.removed[0].reason if rows.removed else "there was none to begin with"
        raise ValueError(f"no row is left to train on, of {len(rows.removed)} (the first: {why}): remove fewer")
    (context.out / ROWS).write_text(to_jsonl(rows.kept))
    (context.out / REMOVED).write_text(to_jsonl(rows.removed))
    return {"n": len(rows.kept), "removed": len(rows.removed), **rows.facts}


def rows_of(folder: Path) -> list[Row]:
    """The training rows of a finished `transform` or `sample`. Completions that failed are left out, and truncated
    ones: training on one would teach a false end. The facts of the `sample` count both."""
    if (folder / GENERATIONS).exists():
        return [
            Row(one.id, [*one.prompt, {"role": "assistant", "content": completion.text}])
            for one in generations_of(folder)
            for completion in one.completions
            if not completion.truncated and completion.error is None
        ]
    return [Row(**json.loads(line)) for line in (folder / ROWS).read_text().splitlines()]
