"""The settings of one training run: all that decides its result, and nothing that does not."""

from dataclasses import dataclass
from typing import Any, Literal

from trainers import objectives

LearnFrom = Literal["answer", "after_reasoning", "empty_reasoning"]


@dataclass(frozen=True)
class Lora:
    """A LoRA adapter on every linear layer (the output head excepted), in PEFT's format."""

    rank: int = 8
    alpha: int = 16


@dataclass(frozen=True)
class TrainSettings:
    """`lora=None` trains the full weights. `warmup` is a share of all steps.

    `batch_size` counts rows; where the student samples its own rows, prompts. `min_steps` repeats small data sets: a
    run has at least that many steps, however few its rows; `max_steps` is their number in place of epochs. A run ends
    at `stop_after`, with the learning rates of the whole one. `options` are those of the objective
    (`trainers/objectives/`), its defaults where None. `loss_on` and `clip` say which of a row's tokens
    are supervised (`trainers/tokens.py`): `clip` leaves out that share of them, the least likely under the student.
    `steps_per_generation` steps share one sampling, where the student samples its own rows.
    """

    learning_rate: float
    seed: int
    dtype: str
    lora: Lora | None = Lora()
    objective: str = "sft"
    options: Any = None
    loss_on: LearnFrom = "answer"
    drop_least_likely: float = 0.0
    batch_size: int = 32
    num_train_epochs: float = 1.0
    min_steps: int = 1
    max_steps: int | None = None
    stop_after: int | None = None
    order: Literal["shuffled", "fixed"] = "shuffled"
    steps_per_generation: int = 1
    lr_scheduler_type: Literal["constant", "linear", "cosine"] = "linear"
    warmup_ratio: float = 0.05
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    max_length: int = 2048

    @property
    def objective_options(self) -> Any:
        """The objective's options, its defaults where none are given."""
        return objectives.module(self.objective).Options() if self.options is None else self.options

    def steps(self, rows: int) -> int:
        """Optimiser steps of the whole run over `rows` rows."""
        return self.max_steps or max(self.min_steps, round(self.num_train_epochs * rows / self.batch_size), 1)
