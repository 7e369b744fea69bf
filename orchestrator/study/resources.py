"""Where and how wide a study runs, as its file declares it."""

from typing import Literal

from pydantic import Field, model_validator

from orchestrator.study.settings import Settings


class TrainResources(Settings):
    """A training has `workers` processes, each with this many CPUs and GPUs."""

    workers: int = Field(1, gt=0)
    cpus: float = Field(1, gt=0)
    gpus: float = Field(0, ge=0, le=1)
    zero: Literal[0, 1, 2, 3] = Field(0, description="DeepSpeed's ZeRO stage; 0: the weights are whole in each process")
    offload: Literal["nothing", "optimizer", "all"] = Field(
        "nothing", description="what ZeRO holds in the machine's memory; all: the weights too, with zero: 3"
    )
    gradient_checkpointing: bool = False
    max_tokens_per_microbatch: int | None = Field(
        None, gt=0, description="tokens that go through a process's model at a time; 16384 on a GPU, 4096 on a CPU"
    )
    save_every_seconds: float = Field(
        300, gt=0, description="seconds between two states from which a lost training goes on"
    )

    @model_validator(mode="after")
    def _has_an_effect(self) -> "TrainResources":
        if self.offload != "nothing" and not self.zero:
            raise ValueError("offload has no effect without ZeRO: set zero to 1, 2 or 3")
        if self.offload == "all" and self.zero < 3:
            raise ValueError("offload: the weights can be offloaded under zero: 3 only; use optimizer")
        return self


class EngineResources(Settings):
    cpus: float = Field(1, gt=0)
    gpus: Literal[0, 1] = Field(0, description="an engine has one GPU to itself")
    replicas: int = Field(1, gt=0)


class Resources(Settings):
    """Where and how wide things run. Nothing here changes a result, or a stage's identity."""

    max_concurrent_trials: int = Field(
        4, gt=0, description="trials under way at once; they wait on stages and need no CPU of their own"
    )
    cpus: int | None = Field(None, gt=0, description="CPUs of a local Ray; all by default")
    retries: int = Field(2, ge=0, description="how often work is tried again whose worker or node was lost")
    train: TrainResources = TrainResources()
    engine: EngineResources = EngineResources()
