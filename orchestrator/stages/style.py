"""The stage `style`: whether answers to a benchmark read like the original student's or like the teacher's."""

from pathlib import Path
from statistics import fmean
from typing import Any

from evaluators.analysis.style import Read, accuracy, read, read_file
from evaluators.engines.generations import to_jsonl
from orchestrator.stages import data
from orchestrator.stages.sample import answers_of
from orchestrator.store.context import StageContext
from orchestrator.store.stage import Stage

VERSION = 1
READ = "read.jsonl"


def stage(student: Stage, original: Stage, teacher: Stage) -> Stage:
    """Of three samples of the same benchmark; the probe is fitted on the last two."""
    return Stage(
        "style",
        VERSION,
        student.name,
        {"scikit-learn": data.version_of("scikit-learn")},
        {"student": student, "original": original, "teacher": teacher},
    )


def run(work: StageContext) -> dict[str, Any]:
    found = read(*(answers_of(work.folder(whose)) for whose in ("original", "teacher", "student")))
    (work.out / READ).write_text(to_jsonl(found))
    return {"n": len(found), "share": fmean(one.student for one in found), "accuracy": accuracy(found)}


def read_of(folder: Path) -> list[Read]:
    return read_file(folder / READ)
