"""GRPO: clipped policy gradient on rewards that are compared within the group of completions of one prompt.

    loss_t = -min(r_t A, clip(r_t, 1 - epsilon, 1 + epsilon_high) A) + beta r_t (exp(d_t) - d_t - 1)
    r_t    = p(y_t) / p_old(y_t),   d_t = log p_base(y_t) - log p(y_t),   p at the sampling temperature
    A      = (reward - mean of its group) / (standard deviation of its group + 1e-4)

Source: DeepSeekMath (arXiv 2402.03300), as TRL's GRPOTrainer computes it. Rows without an old log-probability were
sampled by the weights of this step; there p_old is p without gradient.

A step's loss is the mean over its tokens. That is TRL's default `loss_type="dapo"` (arXiv 2503.14476) where a step
trains on all completions of one generation, and else its "bnpo" over the whole step. TRL's "grpo", which is
DeepSeekMath's, takes the mean over each completion first, which favours short correct and long wrong completions. Its
"dr_grpo" (arXiv 2503.20783) divides by the largest possible number of tokens. With `scale_rewards="none"` its gradient
is the one here times a number that differs between steps. Neither is implemented, nor are TRL's two-sided clipping,
masks and entropy bonus.

DeepSeekMath has no r_t before the KL estimate. TRL has it by default, and then the expected gradient over the student's
tokens is that of KL(student || base). `beta` is 0 by default, as in TRL; DeepSeekMath has 0.04.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from trainers.losses import Tokens, log_prob
from trainers.objective import LogprobColumn, NotNegative, Objective, Positive, Sampling
from trainers.rows import Rollout, Row, completion_row

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Options:
    """Names and defaults are those of TRL's GRPOConfig."""

    num_generations: int = Field(8, description="completions of each prompt")
    epsilon: float = Field(0.2, ge=0, lt=1, description="how far below 1 the ratio of probabilities is clipped")
    epsilon_high: NotNegative | None = Field(
        None,
        description="how far above 1 it is clipped; epsilon by default; DAPO has 0.28",
    )
    beta: NotNegative = Field(0.0, description="weight of the KL penalty to the base student; 0: no penalty")
    scale_rewards: Literal["group", "none"] = Field(
        "group",
        description="group: advantages are divided by the standard deviation of their group; "
        "none: they are not, as in Dr. GRPO",
    )
    temperature: Positive = Field(1.0, description="of sampling; it also divides the logits")

    def __post_init__(self) -> None:
        if self.num_generations < 2:
            raise ValueError(
                f"grpo: num_generations is {self.num_generations}; give at least 2, for the completions of a prompt "
                f"are compared with each other"
            )


def token_loss(tokens: Tokens, options: Options) -> Tensor:
    """The loss of each supervised token, of shape (T,), from the columns "advantage", "old_logprob" (if there) and
    "base_logprob" (if beta > 0). Both are log-probabilities at the sampling temperature.
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


def rollout_rows(rollouts: Sequence[Rollout], tokenizer: Any, options: Options) -> list[list[Row]]:
    """Each completion after its prompt, of shape (P, N), with its advantage over its group at each token."""
    rows_P_N = []
    for one in rollouts:
        pairs = zip(one.completions, advantages(one.rewards or (), options.scale_rewards), strict=True)
        rows_P_N.append(
            [
                replace(completion_row(one.prompt_ids, ids), columns={"advantage": [advantage] * len(ids)})
                for ids, advantage in pairs
            ]
        )
    return rows_P_N


def advantages(rewards_N: Sequence[float], scale: Literal["group", "none"]) -> list[float]:
    """The advantage of each of the N completions of a prompt over their mean, of shape (N,)."""
    mean = statistics.mean(rewards_N)  # Exact, so that a group of equal rewards has advantages of exactly 0.
    unit = statistics.stdev(rewards_N) + 1e-4 if scale == "group" else 1.0
    return [(reward - mean) / unit for reward in rewards_N]


def logprob_columns(options: Options, steps_per_generation: int) -> Iterator[LogprobColumn]:
    """p_old differs from p in steps that share a sampling; the KL penalty needs the base student."""
    if steps_per_generation > 1:
        yield "old_logprob"
    if options.beta:
        yield "base_logprob"


OBJECTIVE = Objective(
    options=Options,
    token_loss=token_loss,
    data="problems",
    rollout_rows=rollout_rows,
    sampling=lambda options: Sampling(num_generations=options.num_generations, temperature=options.temperature),
    logprob_columns=logprob_columns,
)
