"""The stage `weights`: a student made from another one's weights and the original ones, without training."""

from pathlib import Path
from typing import Any

from orchestrator.store.context import StageContext, checkpoint_of
from orchestrator.store.stage import Stage
from orchestrator.study.schema import Study
from trainers.weights import interpolate, noise, relative_norm, scale

VERSION = 1


def stage(study: Study, base: Stage, student: Stage, how: dict[str, Any]) -> Stage:
    """What is made of `student`, trained from `base`: `how` names a function of trainers/weights.py and has its
    options, as {"how": "noise", "seed": 1}, {"how": "interpolate", "share": 0.5} or {"how": "scale", "factor": 0.5}."""
    return Stage(
        "weights",
        VERSION,
        "-".join([student.name, *map(str, how.values())]),
        {**how, "dtype": study.dtype},
        {"base": base, "student": student},
        {
            "cpus": study.resources.train.cpus,
            "retries": study.resources.retries,
            "engine": base.runtime["engine"],
        },
    )


def run(work: StageContext) -> dict[str, Any]:
    import torch

    torch.set_num_threads(max(1, int(work.stage.runtime["cpus"])))
    settings, dtype = work.stage.settings, work.stage.settings["dtype"]
    base, student = Path(checkpoint_of(work.store, work.stage.inputs["base"].address)), work.folder("student")
    if settings["how"] == "scale":
        scale(student, settings["factor"], work.out)
    elif settings["how"] == "noise":
        noise(base, student, settings["seed"], dtype, work.out)
    else:
        interpolate(base, student, settings["share"], dtype, work.out)
    return {
        "weights": "adapter" if settings["how"] == "scale" else "checkpoint",
        "norm": relative_norm(base, work.out, dtype),
    }
