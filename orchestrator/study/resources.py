"""Where a study runs, and how parallel, as its file declares it."""

import math
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from orchestrator.study.settings import Settings


class TrainResources(Settings):
    """What one training uses: `workers` processes, each with `cpus` CPUs and `gpus` GPUs."""

    HINTS: ClassVar[dict[str, str]] = {"deepspeed": "unknown key; use zero"}

    workers: int = Field(1, gt=0, description="processes; with 4 workers of 1 GPU a training uses 4 GPUs")
    cpus: float = Field(1, gt=0, description="CPUs of a worker")
    gpus: float = Field(0, ge=0, description="GPUs of a worker, at most 1; a share, as 0.5, lets trainings share a GPU")
    zero: Literal[0, 1, 2, 3] = Field(0, description="stage of DeepSpeed ZeRO; 0: each worker holds all weights (DDP)")
    offload: Literal["nothing", "optimizer", "all"] = Field(
        "nothing", description="what ZeRO offloads to CPU memory; all: the weights too, with zero: 3"
    )
    gradient_checkpointing: bool = Field(False, description="recompute activations, to save memory")
    max_tokens_per_microbatch: int | None = Field(
        None, gt=0, description="tokens in one forward pass of a worker; 16384 on a GPU, 4096 on a CPU by default"
    )
    save_every_seconds: float = Field(
        300, gt=0, description="least seconds between two saved states from which an interrupted training resumes"
    )

    @field_validator("gpus")
    @classmethod
    def _at_most_one(cls, gpus: float) -> float:
        if gpus > 1:
            raise ValueError(f"a worker has at most one GPU, not {gpus:g}: set workers: {math.ceil(gpus)} and gpus: 1")
        return gpus

    @model_validator(mode="after")
    def _has_an_effect(self) -> "TrainResources":
        if self.offload != "nothing" and not self.zero:
            raise ValueError("offload has no effect without ZeRO: set zero to 1, 2 or 3")
        if self.offload == "all" and self.zero < 3:
            raise ValueError("offload: the weights can be offloaded under zero: 3 only; use optimizer")
        return self


class EngineResources(Settings):
    """What one inference engine (vLLM) uses. An engine runs while it has work."""

    cpus: float = Field(1, gt=0, description="CPUs of an engine")
    gpus: int = Field(0, ge=0, description="GPUs of an engine; several hold one model together")
    tensor_parallel_size: int | None = Field(
        None, gt=0, description="processes that share each layer; GPUs divided by pipeline_parallel_size by default"
    )
    pipeline_parallel_size: int = Field(1, gt=0, description="groups of processes that share the layers out")
    nodes: int = Field(1, gt=0, description="machines that an engine may be spread over; each has an equal part of it")
    replicas: int = Field(1, gt=0, description="the most engines of a model at once")
    batch_invariant: bool = Field(
        False, description="the same bits whatever runs beside a request (vLLM); slower, for GPUs from Hopper on"
    )
    timeout_seconds: float = Field(
        1800,
        gt=0,
        description="seconds of one step (API: without a finished request) after which a hung engine is replaced",
    )

    @property
    def tensor_parallel(self) -> int:
        return self.tensor_parallel_size or max(1, self.gpus // self.pipeline_parallel_size)

    @property
    def processes(self) -> int:
        """Those that hold one model together."""
        return self.tensor_parallel * self.pipeline_parallel_size

    @model_validator(mode="after")
    def _a_process_for_each_gpu(self) -> "EngineResources":
        if self.batch_invariant and not self.gpus:
            raise ValueError("batch_invariant has no effect without GPUs: set gpus, or leave it out")
        if self.pipeline_parallel_size > 1 and not self.gpus:
            raise ValueError("pipeline_parallel_size needs GPUs, since vLLM 0.29 fails with it on CPUs: set gpus")
        if self.gpus not in (0, self.processes):
            raise ValueError(
                f"gpus: {self.gpus} is not tensor_parallel_size {self.tensor_parallel} times pipeline_parallel_size "
                f"{self.pipeline_parallel_size}: set gpus: {self.processes}"
            )
        if self.processes % self.nodes:
            raise ValueError(
                f"nodes: {self.processes} processes (tensor_parallel_size times pipeline_parallel_size) cannot be "
                f"shared equally by {self.nodes} machines: set nodes to a divisor of {self.processes}"
            )
        return self


class Resources(Settings):
    """Where a study runs, and how parallel. Nothing here changes a result."""

    max_concurrent_trials: int = Field(
        4, gt=0, description="trials in progress at once; they wait for stages and need no CPU of their own"
    )
    cpus: int | None = Field(None, gt=0, description="the most CPUs that the study uses at once; all by default")
    gpus: int | None = Field(None, gt=0, description="the most GPUs that the study uses at once; all by default")
    retries: int = Field(2, ge=0, description="retries of a stage or trial whose process or node was lost")
    max_failed: float = Field(
        0.02,
        ge=0,
        lt=1,
        description="the share of a sample's requests that may fail, as by a content filter; with more the stage fails",
    )
    train: TrainResources = Field(TrainResources(), description="what one training uses")
    engine: EngineResources = Field(EngineResources(), description="what one inference engine uses")
    engines: dict[str, EngineResources] = Field(
        {}, description="what the engines of some models use instead, by their keys in models; the rest as in engine"
    )

    @model_validator(mode="before")
    @classmethod
    def _the_rest_as_in_engine(cls, given: Any) -> Any:
        if isinstance(given, dict) and isinstance(given.get("engines"), dict):
            engine = given.get("engine")
            of_all = engine if isinstance(engine, dict) else {}
            engines = {
                name: {**of_all, **own} if isinstance(own, dict) else own for name, own in given["engines"].items()
            }
            return {**given, "engines": engines}
        return given

    def of_engine(self, name: str | None) -> EngineResources:
        """What the engine with this name uses."""
        return self.engines.get(name or "", self.engine)
