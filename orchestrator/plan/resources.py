"""What a run needs at least, and settings with which it fits on a machine that has less."""

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
    """The parts of a run, of which each must fit alone: `engine`, a replica of the largest one (None: none is used),
    and the largest stage, a training of `workers` processes (0: no training is left) or another stage of `cpus` CPUs.
    With `together`, a training samples as it trains, so that it needs an engine at the same time."""

    engine: EngineResources | None
    workers: int
    cpus: float
    train: TrainResources
    together: bool = False
    where: str = "resources.engine"  # of the engine

    @property
    def total(self) -> dict[str, float]:
        """The least that must be there at once, by Ray's names of resources."""
        engine = {"CPU": 0.0, "GPU": 0.0}
        if self.engine is not None:
            engine = {"CPU": self.engine.cpus, "GPU": self.engine.gpus}
        stage = {"CPU": self.cpus, "GPU": self.workers * self.train.gpus}
        return {kind: engine[kind] + stage[kind] if self.together else max(engine[kind], stage[kind]) for kind in stage}


def counted(number: float, what: str) -> str:
    return f"{number:g} {what}{'s' * (number != 1)}"


def needs_of(pending: Iterable[Stage], study: Study) -> Needs:
    """What a run of these stages needs at once."""
    pending, train = list(pending), study.resources.train
    remote = {alias for alias, model in study.models.items() if model.served is not None}
    used = [stage for stage in pending if stage.runtime.uses_engine and stage.runtime.engine not in remote]
    workers = train.workers if any(stage.kind == "train" for stage in pending) else 0
    largest = max((stage.runtime.engine for stage in used), key=lambda name: _size(name, study), default=None)
    return Needs(
        engine=study.resources.of_engine(largest) if used else None,
        where=f"resources.engines.{largest}" if largest in study.resources.engines else "resources.engine",
        workers=workers,
        cpus=max((stage.runtime.total[0] for stage in pending), default=0.0),
        train=train,
        together=any(stage.kind == "train" for stage in used),
    )


def _size(engine: str, study: Study) -> tuple[int, float]:
    resources = study.resources.of_engine(engine)
    return resources.gpus, resources.cpus


def on_this_machine(study: Study) -> dict[str, float]:
    """The CPUs and GPUs that a local Ray has here, without starting it."""
    there, most = _gpus(), study.resources.gpus
    return {"CPU": study.resources.cpus or os.cpu_count() or 1, "GPU": there if most is None else min(there, most)}


def _gpus() -> int:
    """The GPUs that NVIDIA's driver shows, and CUDA_VISIBLE_DEVICES leaves; as Ray counts them."""
    nvml, count, visible = _nvml(), ctypes.c_uint(), os.environ.get("CUDA_VISIBLE_DEVICES")
    if nvml is None or nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)):
        return 0
    return count.value if visible is None else min(count.value, len([one for one in visible.split(",") if one]))


def gpu_memory() -> int | None:
    """The bytes of the first GPU here; None without one."""
    nvml, device, memory = _nvml(), ctypes.c_void_p(), (ctypes.c_ulonglong * 3)()  # total, free, used
    if nvml is None or nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device)):
        return None
    return None if nvml.nvmlDeviceGetMemoryInfo(device, memory) else memory[0]


def _nvml() -> ctypes.CDLL | None:
    """NVIDIA's library, None where there is no driver."""
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None
    return None if nvml.nvmlInit_v2() else nvml


def too_little(needs: Needs, here: Mapping[str, float], study: Study) -> Iterator[str]:
    """A line for CPUs and for GPUs of which there are fewer than a run needs, with settings that fit."""
    for kind, settings in {"CPU": _with_fewer_cpus, "GPU": _with_fewer_gpus}.items():
        there = here.get(kind, 0.0)
        if needs.total[kind] > there:
            limited = {"CPU": study.resources.cpus, "GPU": study.resources.gpus}[kind]
            limit = f" (resources.{kind.lower()}s)" if limited else ""
            fitting = " and ".join(f"{key}={value:g}" for key, value in settings(needs, there).items())
            yield (
                f"resources: {needs_in_words(needs, kind)} {'need' if needs.together else 'needs'} "
                f"{counted(needs.total[kind], kind)} at once, and there are {there:g}{limit}: set {fitting}, or use a "
                f"cluster (--address)"
            )


def needs_in_words(needs: Needs, kind: str) -> str:
    """What needs most of a kind of resources."""
    engine, stage = "an inference engine", "a training" if needs.workers else "a stage"
    if needs.together:
        return f"{stage} that samples and {engine}"
    of_engine = 0.0 if needs.engine is None else {"CPU": needs.engine.cpus, "GPU": needs.engine.gpus}[kind]
    return engine if of_engine >= needs.total[kind] else stage


def _with_fewer_cpus(needs: Needs, here: float) -> dict[str, float]:
    """Settings with which the CPUs suffice. An engine or a process has one thread also with less than one CPU."""
    changed, beside = {}, needs.cpus
    room = here / 2 if needs.together else here
    if beside > room:
        parts = max(needs.workers, 1)
        each = _rounded_down(room / parts)
        changed["resources.train.cpus"], beside = each, each * parts
    left = here - beside if needs.together else here
    if needs.engine is not None and needs.engine.cpus > left:
        changed[f"{needs.where}.cpus"] = _rounded_down(left)
    return changed


def _rounded_down(cpus: float) -> float:
    return math.floor(cpus) if cpus >= 1 else math.floor(cpus * 100) / 100


def _with_fewer_gpus(needs: Needs, here: float) -> dict[str, float]:
    """Settings with which the GPUs suffice."""
    of_engine = needs.engine.gpus if needs.engine is not None else 0
    if not here or (needs.together and here < of_engine + needs.train.gpus):
        parts = {f"{needs.where}.gpus": of_engine, "resources.train.gpus": needs.train.gpus}
        return {key: 0 for key, gpus in parts.items() if gpus}
    changed, room = {}, here - of_engine if needs.together else here
    if of_engine > here:
        changed[f"{needs.where}.gpus"] = 2 ** int(math.log2(here))  # Layers are shared by powers of two.
    if needs.workers * needs.train.gpus > room:
        changed["resources.train.workers"] = int(room // needs.train.gpus)
    return changed
