"""The settings of one training run: all that decides its result, and nothing that does not."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Lora:
    """A LoRA adapter on every linear layer (the output head excepted), in PEFT's format."""

    rank: int = 8
    alpha: int = 16


@dataclass(frozen=True)
class TrainSettings:
    """`lora=None` trains the full weights. `batch_size` counts rows, `warmup` is a share of all steps.

    `min_steps` repeats small data sets: a run has at least that many steps, however few its rows.
    """

    learning_rate: float
    seed: int
    dtype: str
    lora: Lora | None = Lora()
    batch_size: int = 32
    epochs: float = 1.0
    min_steps: int = 1
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    warmup: float = 0.05
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    max_length: int = 2048

    def steps(self, rows: int) -> int:
        """Optimiser steps over `rows` rows."""
        return max(self.min_steps, round(self.epochs * rows / self.batch_size), 1)
