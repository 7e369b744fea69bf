"""The input of every token loss, and the log-probability that most of them start from."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class Tokens(NamedTuple):
    """The supervised tokens of a micro-batch (T), in order."""

    logits_T_V: Tensor  # of the student, float32, with gradient
    targets_T: Tensor  # the tokens themselves (int64), each predicted by the logits beside it
    reference_T_V: Tensor | None  # of the objective's reference model at the same tokens, float32, without gradient
    columns: dict[str, Tensor]  # numbers that rows carry for each token: "advantage", "old_logprob", "base_logprob"


def log_prob(logits_T_V: Tensor, targets_T: Tensor) -> Tensor:
    """log p(y_t) of each target, in nats, of shape (T,)."""
    import torch

    return -torch.nn.functional.cross_entropy(logits_T_V, targets_T, reduction="none")
