"""On-policy distillation: the student samples completions and learns the next-token distributions of a teacher with the
same tokenizer. The teacher sees the same prompt and completion.

loss_t = KL(student || teacher)  for direction "student_teacher", the default
         KL(teacher || student)  for direction "teacher_student"
         at (x, y_<t),   y ~ student(. | x)

Source: "On-Policy Distillation" (Thinking Machines Lab, October 2025), after GKD (arXiv 2306.13649) and MiniLLM (arXiv
2306.08543). The blog takes log p_teacher - log p_student of the sampled token as its advantage. Here the divergence
is summed over the vocabulary instead: its gradient is the expectation of the blog's, and so has less noise. The mean is
over tokens, so tokens of long and of short completions have equal weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from trainers.losses import Tokens, divergence, kl
from trainers.objective import Objective, Reference
from trainers.rows import completion_row

if TYPE_CHECKING:
    from torch import Tensor

    from trainers.losses import Formula
    from trainers.rows import Rollout, Row

FORMULAS: dict[str, Formula] = {"student_teacher": kl, "teacher_student": lambda student, teacher: kl(teacher, student)}


@dataclass(frozen=True)
class Options:
    """The teacher must have the student's tokenizer: the divergence is between logits, token by token."""

    direction: Literal["student_teacher", "teacher_student"] = Field(
        "student_teacher",
        description="student_teacher: KL(student || teacher); teacher_student: KL(teacher || student)",
    )
    top_k: int | None = Field(
        None,
        description="restricts the divergence to the student's likeliest tokens, renormalised; all by default",
    )

    def __post_init__(self) -> None:
        if self.top_k is not None and self.top_k < 2:
            raise ValueError(
                f"on_policy_distillation: top_k is {self.top_k}; give at least 2, or none for the full vocabulary"
            )


def token_loss(tokens: Tokens, options: Options) -> Tensor:
    """The divergence at each supervised token, in nats, of shape (T,)."""
    assert tokens.reference_T_V is not None
    student_T_V, teacher_T_V = tokens.logits_T_V, tokens.reference_T_V
    # Models of one family share a tokenizer and pad their vocabularies to different sizes, with logits of no token.
    shared = min(student_T_V.shape[-1], teacher_T_V.shape[-1])
    return divergence(
        student_T_V[:, :shared], teacher_T_V[:, :shared], FORMULAS[options.direction], top_k=options.top_k
    )


def rollout_rows(rollouts: Sequence[Rollout], tokenizer: Any, options: Options) -> list[list[Row]]:
    """Each completion after its prompt, of shape (P, N). The teacher sees the same."""
    return [[completion_row(one.prompt_ids, ids) for ids in one.completions] for one in rollouts]


OBJECTIVE = Objective(
    options=Options,
    token_loss=token_loss,
    data="prompts",
    rollout_rows=rollout_rows,
    reference=lambda options: Reference("teacher"),
)
