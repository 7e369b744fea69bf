"""GRPO: clipped policy gradient on rewards that are compared within a group of answers to one prompt.

loss_t = -min(r_t A, clip(r_t, 1 - epsilon, 1 + epsilon_high) A) + beta r_t (exp(d_t) - d_t - 1)
r_t    = p(y_t) / p_old(y_t),   d_t = log p_base(y_t) - log p(y_t),   p at the sampling temperature
A      = (reward - mean of its group) / (standard deviation of its group + 1e-4)

Source: DeepSeekMath (arXiv 2402.03300), as TRL's GRPOTrainer computes it. Where the rows carry no old log-probability
the answers are the student's own of this very step, and p_old is p without gradient.

A step's loss is the mean over its tokens. That is TRL's default `loss_type="dapo"` (arXiv 2503.14476) where a step
trains on all answers of one generation, and else its "bnpo" over the whole step. TRL's "grpo", DeepSeekMath's own,
takes the mean over each answer first, which favours short right answers and long wrong ones. Its "dr_grpo" (arXiv
2503.20783) divides by the most tokens that the answers could have had, so that with `scale="none"` its gradient is this
one times a number that differs between steps. Both are left out, as are TRL's two-sided clipping, masks and entropy
bonus.

DeepSeekMath has no r_t before the KL estimate. With it, which is TRL's default, the gradient is on average over the
student's tokens that of KL(student || base). `beta` is 0 by default, as in TRL; DeepSeekMath has 0.04.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from trainers.objectives.tokens import Tokens, log_prob

if TYPE_CHECKING:
    from torch import Tensor

MEAN_OVER = "tokens"
REFERENCE = None
SCALES = ("group", "none")


@dataclass(frozen=True)
class Options:
    """`group`: answers to each prompt. `epsilon_high` is `epsilon` where it is not given; DAPO has 0.28.

    `scale`: advantages in units of their group's standard deviation, or "none" (Dr. GRPO). `temperature` is that of
    sampling, and divides the logits.
    """

    group: int = 8
    epsilon: float = 0.2
    epsilon_high: float | None = None
    beta: float = 0.0
    scale: Literal["group", "none"] = "group"
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.group < 2:
            raise ValueError(f"grpo: group is {self.group}; give at least 2, for answers are compared with each other")
        if not 0 <= self.epsilon < 1:
            raise ValueError(f"grpo: epsilon is {self.epsilon}; give one of at least 0 and below 1")
        if self.epsilon_high is not None and not 0 <= self.epsilon_high < float("inf"):
            raise ValueError(f"grpo: epsilon_high is {self.epsilon_high}; give a finite number of at least 0")
        if not 0 <= self.beta < float("inf"):
            raise ValueError(f"grpo: beta is {self.beta}; give a finite number of at least 0")
        if self.scale not in SCALES:
            raise ValueError(f"grpo: scale is {self.scale!r}; give one of {', '.join(SCALES)}")
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"grpo: temperature is {self.temperature}; give one above 0")


def token_loss(tokens: Tokens, options: Options) -> Tensor:
    """The loss of each supervised token, of shape (T,), from its "advantage" and, where they are, "old_logprob" and
    (needed with beta) "base_logprob", which are log-probabilities at the sampling temperature.
    """
    import torch

    logp_T = log_prob(tokens.logits_T_V / options.temperature, tokens.targets_T)
    ratio_T = (logp_T - tokens.columns.get("old_logprob", logp_T.detach())).exp()
    high = options.epsilon if options.epsilon_high is None else options.epsilon_high
    advantage_T = tokens.columns["advantage"]
    loss_T = -torch.min(ratio_T * advantage_T, ratio_T.clamp(1 - options.epsilon, 1 + high) * advantage_T)
    if options.beta == 0:
        return loss_T
    d_T = tokens.columns["base_logprob"] - logp_T
    return loss_T + options.beta * ratio_T * (d_T.expm1() - d_T)


def advantages(rewards_P_N: list[list[float]], scale: Literal["group", "none"]) -> list[list[float]]:
    """How much better each of a prompt's N answers was than their mean, of shape (P, N); all 0 where all are alike."""
    return [_compared(rewards_N, scale) for rewards_N in rewards_P_N]


def _compared(rewards_N: list[float], scale: str) -> list[float]:
    mean = statistics.mean(rewards_N)  # Exact, so that a group of equal rewards has advantages of exactly 0.
    unit = statistics.stdev(rewards_N) + 1e-4 if scale == "group" else 1.0
    return [(reward - mean) / unit for reward in rewards_N]
