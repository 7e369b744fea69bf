"""The configuration of one training process. It does not change the result of a training."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ProcessConfig:
    """One of `workers` processes that train together. Each takes its share of the rows of every step.

    `zero` is the stage of DeepSpeed's ZeRO (0: plain data parallelism), `offload` what it holds in CPU memory.
    A micro-batch has at most `max_tokens_per_microbatch` tokens; a longer row makes a micro-batch of its own.
    """

    rank: int = 0
    workers: int = 1
    device: str = "cpu"
    zero: Literal[0, 1, 2, 3] = 0
    offload: Literal["nothing", "optimizer", "all"] = "nothing"
    gradient_checkpointing: bool = False
    max_tokens_per_microbatch: int = 4096
