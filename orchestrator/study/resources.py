"""Where a study runs, and how parallel, as its file declares it."""

import math
from typing import ClassVar, Literal

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
        300, gt=0, description="seconds between two saved states from which an interrupted training resumes"
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

    HINTS: ClassVar[dict[str, str]] = {
        "tensor_parallel_size": "is not supported: an engine has at most one GPU; replicas adds engines"
    }

    cpus: float = Field(1, gt=0, description="CPUs of an engine")
    gpus: int = Field(0, ge=0, description="GPUs of an engine: 0 or 1")
    replicas: int = Field(1, gt=0, description="the most engines of a model at once")
    timeout_seconds: float = Field(
        1800,
        gt=0,
        description="seconds of one step (API: without a finished request) after which a hung engine is replaced",
    )

    @field_validator("gpus")
    @classmethod
    def _at_most_one(cls, gpus: int) -> int:
        if gpus > 1:
            raise ValueError(
                f"an engine has at most one GPU, not {gpus}: there is no tensor parallelism; replicas adds engines"
            )
        return gpus


class Resources(Settings):
    """Where a study runs, and how parallel. Nothing here changes a result."""

    HINTS: ClassVar[dict[str, str]] = {
        "gpus": "unknown key; GPUs are engine.gpus for each engine, and train.workers and train.gpus for each training"
    }
    max_concurrent_trials: int = Field(
        4, gt=0, description="trials in progress at once; they wait for stages and need no CPU of their own"
    )
    cpus: int | None = Field(None, gt=0, description="CPUs of a local Ray; all by default")
    retries: int = Field(2, ge=0, description="retries of a stage or trial whose process or node was lost")
    max_failed: float = Field(
        0.02,
        ge=0,
        lt=1,
        description="the share of a sample's requests that may fail, as by a content filter; with more the stage fails",
    )
    train: TrainResources = Field(TrainResources(), description="what one training uses")
    engine: EngineResources = Field(EngineResources(), description="what one inference engine uses")
