"""The settings of one training: all that decides its result, and nothing else."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from evaluators.identity import ADDED
from trainers import objectives

LossOn = Literal["answer", "after_reasoning", "empty_reasoning"]
TargetModules = Literal["all-linear"] | tuple[str, ...]


@dataclass(frozen=True)
class Lora:
    """A LoRA adapter, with PEFT's names and meanings.

    `target_modules`: every linear layer except the output head, or those whose name is, or ends in, one of these.
    `lora_dropout`: the share of the adapter's inputs that is set to 0 in training.
    """

    r: int = 8
    lora_alpha: int = 16
    target_modules: TargetModules = field(default="all-linear", metadata=ADDED)
    lora_dropout: float = field(default=0.0, metadata=ADDED)


@dataclass(frozen=True)
class TrainSettings:
    """`lora=None` trains the full weights. `options` are those of the objective, its defaults where None.

    - `batch_size` counts rows, or prompts where the student samples its own completions;
    - `min_steps` is the least number of steps: small data sets are repeated. `max_steps` takes the place of epochs;
    - `stop_after` ends a training at that step, with the learning rates of the whole one;
    - `warmup_ratio` is a share of all steps;
    - `loss_on` says which tokens of an answer are supervised (`trainers/tokenization.py`). `drop_least_likely` leaves
      out that share of them: those with the lowest probability under the student;
    - `steps_per_generation` steps share one sampling of the student's own completions.
    """

    learning_rate: float
    seed: int
    dtype: str
    lora: Lora | None = Lora()
    objective: str = "sft"
    options: Any = None
    loss_on: LossOn = "answer"
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
        return objectives.get(self.objective).options() if self.options is None else self.options

    def steps(self, rows: int) -> int:
        """Optimiser steps of the whole training over `rows` rows."""
        return self.max_steps or max(self.min_steps, round(self.num_train_epochs * rows / self.batch_size), 1)

    def rate(self, step: int, steps: int) -> float:
        """The learning rate at a step of `steps`: linear warm-up, then the decay towards 0."""
        return self.learning_rate * self._share_of_peak(step, steps)

    def summed_rate(self, steps: int) -> float:
        """The sum of the learning rates of a training of so many steps."""
        return sum(self.rate(step, steps) for step in range(steps))

    def _share_of_peak(self, step: int, steps: int) -> float:
        warmup = round(self.warmup_ratio * steps)
        if step < warmup:
            return (step + 1) / warmup
        done = (step - warmup) / max(1, steps - warmup)
        return {"constant": 1.0, "linear": 1.0 - done, "cosine": 0.5 * (1 + math.cos(math.pi * done))}[
            self.lr_scheduler_type
        ]
