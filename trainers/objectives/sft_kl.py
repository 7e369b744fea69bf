"""SFT with a penalty on the KL divergence between the student and the base student.

loss_t = -log p(y_t) + weight * KL_t,   KL_t = KL(student || base)  for direction "student_base"
                                               KL(base || student)  for direction "base_student"

KL_t is over the full vocabulary, at the supervised tokens of the training rows. The base is the base student, also
where a training starts from another checkpoint. There is no canonical source: TRL's SFTTrainer has no such penalty, and
the default weight is arbitrary. "student_base" is the direction of RLHF's penalty, and of the KL in reports.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from trainers.losses import Tokens, divergence, kl, log_prob
from trainers.objective import NotNegative, Objective, Reference

if TYPE_CHECKING:
    from torch import Tensor

    from trainers.losses import Formula

FORMULAS: dict[str, Formula] = {"student_base": kl, "base_student": lambda student, base: kl(base, student)}


@dataclass(frozen=True)
class Options:
    """How much the KL divergence weighs, and between what it is."""

    weight: NotNegative = Field(
        1.0,
        description="multiplies the KL divergence, which is in nats like the log-likelihood",
    )
    direction: Literal["student_base", "base_student"] = Field(
        "student_base",
        description="student_base: KL(student || base student); base_student: KL(base student || student)",
    )


def token_loss(tokens: Tokens, options: Options) -> Tensor:
    """-log p + weight * KL of each supervised token, in nats, of shape (T,)."""
    assert tokens.reference_T_V is not None
    kl_T = divergence(tokens.logits_T_V, tokens.reference_T_V, FORMULAS[options.direction])
    return -log_prob(tokens.logits_T_V, tokens.targets_T) + options.weight * kl_T


OBJECTIVE = Objective(options=Options, token_loss=token_loss, reference=lambda options: Reference("base"))
