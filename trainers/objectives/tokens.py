"""What every objective sees, and the one number that most of them begin with."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class Tokens(NamedTuple):
    """What an objective sees of a micro-batch: one entry for each supervised token (T), in order."""

    logits_T_V: Tensor  # the student's, float32, with gradient
    targets_T: Tensor  # the token that follows (int64)
    reference_T_V: Tensor | None  # the reference's (base or teacher) logits at the same tokens, float32, no gradient
    columns: dict[str, Tensor]  # per-token numbers that rows carry: "advantage", "old_logprob", "base_logprob" (T each)


def log_prob(logits_T_V: Tensor, targets_T: Tensor) -> Tensor:
    """log p(y_t) of each target, in nats, of shape (T,)."""
    import torch

    return -torch.nn.functional.cross_entropy(logits_T_V, targets_T, reduction="none")
