"""The stage `weights`: a student made from the weights of a trained one and of the base student, without training."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.store.context import StageContext
from orchestrator.store.stage import Runtime, Stage
from orchestrator.study.schema import Study
from trainers.weights import interpolate, noise, relative_norm, scale

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Noise:
    """The base student with Gaussian noise as large as the update."""

    seed: int


@dataclass(frozen=True, kw_only=True)
class Interpolate:
    """base + `share` * update, as a checkpoint."""

    share: float


@dataclass(frozen=True, kw_only=True)
class Scale:
    """base + `factor` * update, as an adapter; only of an adapter."""

    factor: float


@dataclass(frozen=True, kw_only=True)
class WeightsSettings:
    change: Noise | Interpolate | Scale
    dtype: str

    @property
    def leaves_adapter(self) -> bool:
        """Whether the stage's files are an adapter on its base, or a checkpoint."""
        return isinstance(self.change, Scale)


def stage(study: Study, base: Stage, student: Stage, change: Noise | Interpolate | Scale) -> Stage:
    """A change to the update that `student`, trained from `base`, has learned."""
    values = [str(value) for value in asdict(change).values()]
    return Stage(
        "weights",
        VERSION,
        "-".join([student.name, type(change).__name__.lower(), *values]),
        WeightsSettings(change=change, dtype=study.dtype),
        {"base": base, "student": student},
        Runtime(
            cpus=study.resources.train.cpus,
            retries=study.resources.retries,
            engine=base.runtime.engine,
        ),
    )


def run(context: StageContext) -> dict[str, Any]:
    import torch

    torch.set_num_threads(max(1, int(context.stage.runtime.cpus)))
    change, dtype = context.stage.settings.change, context.stage.settings.dtype
    base = Path(context.checkpoint("base"))
    student = context.folder("student")
    if isinstance(change, Scale):
        scale(student, change.factor, context.out)
    elif isinstance(change, Noise):
        noise(base, student, change.seed, dtype, context.out)
    else:
        interpolate(base, student, change.share, dtype, context.out)
    return {"norm": relative_norm(base, context.out, dtype)}
