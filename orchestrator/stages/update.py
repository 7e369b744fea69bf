"""The stage `update`: how large a student's update is, as a norm."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.store.context import StageContext
from orchestrator.store.stage import Runtime, Stage
from orchestrator.study.schema import Study
from trainers.weights import relative_norm

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class UpdateSettings:
    dtype: str


def stage(study: Study, student: Stage) -> Stage:
    """The update of a student from the checkpoint that it was trained or made from."""
    return Stage(
        "update",
        VERSION,
        student.name,
        UpdateSettings(dtype=study.dtype),
        {"base": student.inputs["base"], "student": student},
        Runtime(cpus=study.resources.train.cpus, retries=study.resources.retries),
    )


def run(context: StageContext) -> dict[str, Any]:
    import torch

    torch.set_num_threads(max(1, int(context.stage.runtime.cpus)))
    base, student = Path(context.checkpoint("base")), context.folder("student")
    return {"norm": relative_norm(base, student, context.stage.settings.dtype)}
