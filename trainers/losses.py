"""The input of every token loss, the log-probability that most of them start from, and divergences.

Divergences are between the next-token distributions of student and reference model.

kl(p, q)     = sum_v p_v (log p_v - log q_v)
jsd(p, q, b) = b kl(q, m) + (1 - b) kl(p, m),   m = (1 - b) p + b q

The words "forward" and "reverse" are avoided, since the literature uses either for either direction. jsd is the
generalised Jensen-Shannon divergence of GKD (arXiv 2306.13649) with q as the teacher; jsd / b tends to kl(q, p) as b
tends to 0, and jsd / (1 - b) to kl(p, q) as b tends to 1.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    Formula = Callable[[Tensor, Tensor], Tensor]

TOKENS_AT_A_TIME = 256


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


def kl(log_p_T_K: Tensor, log_q_T_K: Tensor) -> Tensor:
    """KL(p || q) of each token, in nats, of shape (T,), from normalised log-probabilities."""
    return (log_p_T_K.exp() * (log_p_T_K - log_q_T_K)).sum(-1)


def jsd(log_p_T_K: Tensor, log_q_T_K: Tensor, beta: float) -> Tensor:
    """The generalised Jensen-Shannon divergence of each token, in nats, of shape (T,); beta, in (0, 1), weighs q."""
    log_m_T_K = (log_p_T_K + math.log1p(-beta)).logaddexp(log_q_T_K + math.log(beta))
    return beta * kl(log_q_T_K, log_m_T_K) + (1 - beta) * kl(log_p_T_K, log_m_T_K)


def divergence(
    student_T_V: Tensor,
    reference_T_V: Tensor,
    formula: Formula,
    temperature: float = 1.0,
    top_k: int | None = None,
    add_tail: bool = False,
) -> Tensor:
    """`formula(log_student_T_K, log_reference_T_K)` of each token, of shape (T,), from float32 logits.

    Both logits are divided by the temperature first. The distributions are over the full vocabulary, or over the
    student's `top_k` likeliest tokens: renormalised, or with one more bucket for the rest (`add_tail`). Both are as in
    TRL, except that TRL's bucket is never below 1e-7.
    """
    from torch import cat
    from torch.utils.checkpoint import checkpoint

    def of_part(student: Tensor, reference: Tensor) -> Tensor:
        return formula(*_log_probs(student / temperature, reference / temperature, top_k, add_tail))

    # For its backward pass a formula keeps several tensors as large as the logits. Recomputing them there, a few tokens
    # at a time, saves that memory. `split` and not slices, whose gradients would each be as large as the whole.
    parts = zip(student_T_V.split(TOKENS_AT_A_TIME), reference_T_V.split(TOKENS_AT_A_TIME), strict=True)
    return cat([checkpoint(of_part, *part, use_reentrant=False, preserve_rng_state=False) for part in parts])


def _log_probs(student_T_V: Tensor, reference_T_V: Tensor, top_k: int | None, add_tail: bool) -> tuple[Tensor, Tensor]:
    if top_k is not None and top_k < student_T_V.shape[-1]:
        support_T_K = student_T_V.topk(top_k).indices
        student_T_V = _project(student_T_V, support_T_K, add_tail)
        reference_T_V = _project(reference_T_V, support_T_K, add_tail)
    return student_T_V.log_softmax(-1), reference_T_V.log_softmax(-1)


def _project(logits_T_V: Tensor, support_T_K: Tensor, add_tail: bool) -> Tensor:
    """The logits of the support, of shape (T, K), or (T, K + 1) with the tail: the last is of all other tokens."""
    from torch import cat

    kept_T_K = logits_T_V.gather(-1, support_T_K)
    if not add_tail:
        return kept_T_K
    # From the other tokens' logits: 1 - (probability of the support) loses all digits where the support has nearly all.
    tail_T_1 = logits_T_V.scatter(-1, support_T_K, -math.inf).logsumexp(-1, keepdim=True)
    return cat([kept_T_K, tail_T_1], -1)
