"""What an objective consists of: its loss, and what it needs of a training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

if TYPE_CHECKING:
    from torch import Tensor

    from trainers.losses import Tokens
    from trainers.rows import Rollout, Row

Data = Literal["completions", "prompts", "problems", "token_streams"]
LogprobColumn = Literal["old_logprob", "base_logprob"]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class NoOptions:
    """Nothing to set."""


@dataclass(frozen=True)
class Reference:
    """The model whose logits an objective compares with the student's.

    - "base": the base student;
    - "teacher": another model, which must have the student's tokenizer;
    - "frozen", "ema", "live": the student itself, as it was before this training, as the moving average
      phi <- ema_rate theta + (1 - ema_rate) phi over the steps, or as it is at each step.
    """

    model: Literal["base", "teacher", "frozen", "ema", "live"]
    ema_rate: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the student samples its own completions."""

    num_generations: int = 1
    temperature: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The declaration of one objective.

    - `options`: a dataclass with what a study file may set. One of pydantic checks types and ranges by itself;
    - `token_loss(tokens, options)`: the unweighted loss of each supervised token, of shape (T,);
    - `mean_over`: the loss of a step is the mean over its supervised "tokens", or over its "rows" of each row's mean;
    - `data`: what an example is. "completions": a chat that ends in an answer. "prompts": a chat without one.
      "problems": a prompt whose completions get a reward. "token_streams": an answer alone, without a chat template;
    - `rollout_rows(rollouts, tokenizer, options)`: the training rows, of shape (P, N), of N completions to each of P
      prompts, which the student samples itself. None: the examples are the rows;
    - `sampling(options)`: how it samples them;
    - `reference(options)`: the model that the loss compares the student with, if any;
    - `logprob_columns(options, steps_per_generation)`: which log-probabilities rollout rows carry for each supervised
      token: "old_logprob" under the weights that sampled it, "base_logprob" under the base student.
    """

    token_loss: Callable[[Tokens, Any], Tensor]
    options: type[Any] = NoOptions
    mean_over: Literal["tokens", "rows"] = "tokens"
    data: Data = "completions"
    rollout_rows: Callable[[Sequence[Rollout], Any, Any], list[list[Row]]] | None = None
    sampling: Callable[[Any], Sampling] = lambda options: Sampling()
    reference: Callable[[Any], Reference | None] = lambda options: None
    logprob_columns: Callable[[Any, int], Iterable[LogprobColumn]] = lambda options, steps_per_generation: ()

    def __post_init__(self) -> None:
        if self.data in ("prompts", "problems") and not self.on_policy:
            raise ValueError(f"an objective with data={self.data!r} has no answers to learn from: give it rollout_rows")
        if self.data == "token_streams" and self.on_policy:
            raise ValueError("token streams have no prompts to sample from: give the objective other data")

    @property
    def on_policy(self) -> bool:
        """Whether the student learns from completions that it samples itself."""
        return self.rollout_rows is not None

    @property
    def unused_settings(self) -> tuple[str, ...]:
        """The settings of a training that have no effect on this objective."""
        if self.on_policy:
            return ("loss_on", "drop_least_likely")
        if self.data == "token_streams":
            return ("loss_on", "drop_least_likely", "steps_per_generation")
        return ("steps_per_generation",)
