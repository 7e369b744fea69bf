"""The stage `overlap`: how far the answers of training data agree with another sample's, prompt by prompt."""

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from evaluators.analysis.overlap import Overlap, overlap
from evaluators.engines.generations import to_jsonl
from orchestrator.stages.transform import rows_of
from orchestrator.store.context import StageContext
from orchestrator.store.stage import Stage

VERSION = 1
OVERLAPS = "overlaps.jsonl"


@dataclass(frozen=True, kw_only=True)
class OverlapSettings:
    """`ngram`: words of the n-grams that are compared."""

    ngram: int


def stage(data: Stage, other: Stage) -> Stage:
    """The training rows of `data` against the answers of the sample `other` to the same prompts."""
    settings = OverlapSettings(ngram=2)
    return Stage("overlap", VERSION, f"{data.name}-with-{other.name}", settings, {"data": data, "other": other})


def run(context: StageContext) -> dict[str, Any]:
    others = rows_of(context.folder("other"))
    by_id = {row.id: row.answer for row in others}
    # Of a prompt that comes more than once, any answer is a draw; a changed system message changes the id of a row.
    by_message = {row.prompt[-1]["content"]: row.answer for row in others}
    found = []
    for row in rows_of(context.folder("data")):
        other = by_id.get(row.id, by_message.get(row.prompt[-1]["content"]))
        if other is not None:
            found.append(overlap(row.id, row.answer, other, context.stage.settings.ngram))
    if not found:
        raise ValueError(
            f"no prompt of the training data {context.stage.inputs['data'].address} has a whole answer in "
            f"{context.stage.inputs['other'].address}: raise sampling.max_tokens, or leave measures.overlap out"
        )
    (context.out / OVERLAPS).write_text(to_jsonl(found))
    return {
        "n": len(found),
        "f1": fmean(one.f1 for one in found),
        "identical": fmean(one.identical for one in found),
    }


def overlaps_of(folder: Path) -> list[Overlap]:
    """The overlaps in a finished stage's folder."""
    return [Overlap(**json.loads(line)) for line in (folder / OVERLAPS).read_text().splitlines()]
