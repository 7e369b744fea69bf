"""What a run holds at once, and settings with which it fits on a machine that has less."""

import ctypes
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from orchestrator.store.stage import Stage
from orchestrator.study.resources import EngineResources, TrainResources
from orchestrator.study.schema import Study


@dataclass(frozen=True, kw_only=True)
class Needs:
    """The engines of a run, which hold their resources until its end, and the largest stage that runs beside them:
    `workers` processes of a training (0: no training is left), or another stage of `cpus` CPUs."""

    models: int
    engine: EngineResources
    workers: int
    cpus: float
    train: TrainResources

    @property
    def engines(self) -> int:
        return self.models * self.engine.replicas

    @property
    def total(self) -> dict[str, float]:
        """What all of this takes at once, by Ray's names of resources."""
        return {
            "CPU": self.engines * self.engine.cpus + self.cpus,
            "GPU": self.engines * self.engine.gpus + self.workers * self.train.gpus,
        }


def counted(number: float, what: str) -> str:
    return f"{number:g} {what}{'s' * (number != 1)}"


def needs_of(pending: Iterable[Stage], study: Study) -> Needs:
    """What a run of these stages needs at once."""
    pending, train = list(pending), study.resources.train
    remote = {alias for alias, model in study.models.items() if model.served is not None}
    names = {stage.runtime.engine for stage in pending if stage.runtime.engine is not None}
    workers = train.workers if any(stage.kind == "train" for stage in pending) else 0
    others = max((stage.runtime.cpus or 0.0 for stage in pending), default=0.0)
    return Needs(
        models=len(names - remote),
        engine=study.resources.engine,
        workers=workers,
        cpus=max(workers * train.cpus, others),
        train=train,
    )


def on_this_machine(study: Study) -> dict[str, float]:
    """The CPUs and GPUs that a local Ray has here, without starting it."""
    return {"CPU": study.resources.cpus or os.cpu_count() or 1, "GPU": _gpus()}


def _gpus() -> int:
    """The GPUs that NVIDIA's driver shows, and CUDA_VISIBLE_DEVICES leaves; as Ray counts them."""
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return 0
    count, visible = ctypes.c_uint(), os.environ.get("CUDA_VISIBLE_DEVICES")
    if nvml.nvmlInit_v2() or nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)):
        return 0
    return count.value if visible is None else min(count.value, len([one for one in visible.split(",") if one]))


def too_little(needs: Needs, here: Mapping[str, float], study: Study) -> Iterator[str]:
    """A line for CPUs and for GPUs of which there are fewer than a run needs, with settings that fit."""
    each = {
        "CPU": (needs.engine.cpus, needs.cpus, _with_fewer_cpus),
        "GPU": (needs.engine.gpus, needs.workers * needs.train.gpus, _with_fewer_gpus),
    }
    for kind, (of_engine, beside, settings) in each.items():
        there = here.get(kind, 0.0)
        if needs.total[kind] > there:
            parts = [f"{counted(needs.engines, 'inference engine')} with {counted(of_engine, kind)} each"]
            if beside:
                parts.append(f"{'a training' if needs.workers else 'a stage'} with {counted(beside, kind)}")
            limit = " (resources.cpus)" if kind == "CPU" and study.resources.cpus else ""
            fitting = " and ".join(f"{key}={value:g}" for key, value in settings(needs, there).items())
            yield (
                f"resources: {' and '.join(parts)} need {counted(needs.total[kind], kind)} at once, and there are "
                f"{there:g}{limit}: {f'set {fitting}' if fitting else 'use fewer models, or a teacher behind an API'}, "
                f"or use a cluster (--address)"
            )


def _with_fewer_cpus(needs: Needs, here: float) -> dict[str, float]:
    """Settings with which the CPUs suffice. An engine or a process has one thread also with less than one CPU."""
    changed, beside = {}, needs.cpus
    if beside >= here:
        parts = max(needs.workers, 1)
        each = _rounded_down(here / (2 if needs.engines else 1) / parts)
        changed["resources.train.cpus"], beside = each, each * parts
    if needs.engines and needs.engines * needs.engine.cpus + beside > here:
        changed["resources.engine.cpus"] = _rounded_down((here - beside) / needs.engines)
    return changed if all(changed.values()) else {}


def _rounded_down(cpus: float) -> float:
    return math.floor(cpus) if cpus >= 1 else math.floor(cpus * 100) / 100


def _with_fewer_gpus(needs: Needs, here: float) -> dict[str, float]:
    """Settings with which the GPUs suffice; none where the engines of the models alone take too many."""
    if not here:
        parts = {"engine": needs.engine.gpus, "train": needs.train.gpus}
        return {f"resources.{part}.gpus": 0 for part, gpus in parts.items() if gpus}
    for replicas in (needs.engine.replicas, 1):
        room, each = here - needs.models * replicas * needs.engine.gpus, needs.train.gpus
        workers = min(needs.workers, int(room // each)) if each else needs.workers
        if room >= 0 and (workers or not needs.workers):
            changed = {
                "resources.engine.replicas": (replicas, needs.engine.replicas),
                "resources.train.workers": (workers, needs.workers),
            }
            return {key: after for key, (after, before) in changed.items() if after != before}
    return {}
