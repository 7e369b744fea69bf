"""The stage `style`: whether completions for a benchmark read like the base student's or like the teacher's."""

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from evaluators.analysis.style import StyleShares, accuracy, classify
from evaluators.engines.generations import failed, to_jsonl
from orchestrator.stages import data
from orchestrator.stages.sample import generations_of
from orchestrator.store.context import StageContext
from orchestrator.store.stage import Stage

VERSION = 1
SHARES = "style_shares.jsonl"


@dataclass(frozen=True, kw_only=True)
class StyleSettings:
    scikit_learn: str  # its version: the classifier may differ between versions


def stage(student: Stage, untrained: Stage, teacher: Stage) -> Stage:
    """The style of the sample `student`; the classifier is fitted on the other two samples of the same benchmark."""
    settings = StyleSettings(scikit_learn=data.version_of("scikit-learn"))
    return Stage(
        "style", VERSION, student.name, settings, {"student": student, "untrained": untrained, "teacher": teacher}
    )


def run(context: StageContext) -> dict[str, Any]:
    samples = [generations_of(context.folder(role)) for role in ("untrained", "teacher", "student")]
    # Only failures of the first two are left out: they are the same for all students, whose examples must pair.
    left_out = {id for generations in samples[:2] for id, _ in failed(generations)}
    found = classify(*([one for one in generations if one.id not in left_out] for generations in samples))
    (context.out / SHARES).write_text(to_jsonl(found))
    return {"n": len(found), "share": fmean(one.student for one in found), "accuracy": accuracy(found)}


def shares_of(folder: Path) -> list[StyleShares]:
    return [StyleShares(**json.loads(line)) for line in (folder / SHARES).read_text().splitlines()]
