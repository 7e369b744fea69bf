"""SDFT: self-distillation fine-tuning. The student samples a completion and learns a teacher's next-token distributions
on it. The teacher is the student itself with a demonstration of the answer in its prompt.

loss_t = D(student(. | x, y_<t), teacher(. | x, demonstration, y_<t)),   y ~ student(. | x)
D      = KL(teacher || student)      for direction "teacher_student"
         KL(student || teacher)      for direction "student_teacher"
         jsd(student, teacher, beta) for direction "jsd", as in `trainers/losses.py`

Source: "Self-Distillation Enables Continual Learning" (arXiv 2601.19897), its code, and TRL's experimental SDFTTrainer.
The mean is over each completion's tokens, then over completions, as in both. Defaults are those of the paper's results:

- direction: the paper writes KL(student || teacher). Its results are KL(teacher || student), according to its author
  and its code (alpha=0). TRL's `distillation_alpha` is 0, 1 or beta in the order above, and 0.5 by default.
- the full vocabulary, as in the paper. TRL's default is `top_k=100`, renormalised.
- 3 tokens skipped: else the student learns how a teacher with a demonstration begins ("Based on the example").
- the teacher is the moving average phi <- ema_rate theta + (1 - ema_rate) phi of the student. The rate is 0.01 in the
  code, and 0.01, 0.02 or 0.05 in the paper. TRL's default is the frozen teacher.
- the template is the code's; as the paper prints it, it ends in a colon.

Not implemented: the importance weights of the paper's code and TRL, which correct for the difference between the
probabilities of engine and trainer, and TRL's sampled-token estimator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from string import Formatter
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, NonNegativeInt
from pydantic.dataclasses import dataclass

from evaluators.engines.chat_template import Chat, encode
from trainers.losses import Tokens, divergence, jsd, kl
from trainers.objective import Objective, Positive, Reference, Sampling
from trainers.rows import Rollout, Row, completion_row

if TYPE_CHECKING:
    from torch import Tensor

    from trainers.losses import Formula

TEMPLATE = """
{question}

This is an example for a response to the question:
{demonstration}

Now answer with a response of your own, including the thinking process.
"""


@dataclass(frozen=True)
class Options:
    """The teacher is the student itself with a demonstration in its prompt, not the teacher of the pair."""

    direction: Literal["teacher_student", "student_teacher", "jsd"] = Field(
        "teacher_student",
        description="teacher_student: KL(teacher || student); student_teacher: KL(student || teacher); "
        "jsd: their mixture",
    )
    beta: float | None = Field(None, description="the teacher's share in the mixture of jsd")
    top_k: int | None = Field(
        None,
        description="restricts the divergence to the student's likeliest tokens, renormalised; all by default",
    )
    add_tail: bool = Field(False, description="adds one bucket for the tokens that top_k leaves out")
    temperature: Positive = Field(1.0, description="of sampling; it also divides the logits of both models")
    skip_tokens: NonNegativeInt = Field(3, description="tokens at the start of each completion that have no loss")
    teacher: Literal["frozen", "ema", "live"] = Field(
        "ema",
        description="the student itself, with a demonstration in its prompt; frozen: as before this training; "
        "live: as at each step; ema: its moving average",
    )
    ema_rate: float = Field(0.01, gt=0, le=1, description="rate of the moving average")
    template: str = Field(TEMPLATE, description="the teacher's prompt, filled in by `str.format`")

    def __post_init__(self) -> None:
        if self.direction == "jsd" and (self.beta is None or not 0 < self.beta < 1):
            raise ValueError(f"sdft: beta is {self.beta}; direction jsd needs one between 0 and 1, such as 0.5")
        if self.direction != "jsd" and self.beta is not None:
            raise ValueError(f"sdft: beta belongs to direction jsd, and the direction is {self.direction}; drop one")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"sdft: top_k is {self.top_k}; give at least 1, or none for the full vocabulary")
        if self.top_k is None and self.add_tail:
            raise ValueError("sdft: add_tail holds what top_k leaves out, and there is no top_k; give one, or drop it")
        if self.top_k == 1 and not self.add_tail:
            raise ValueError("sdft: a single token, renormalised, has no divergence; raise top_k, or set add_tail")
        if not _is_template(self.template):
            raise ValueError(
                f"sdft: template is {self.template!r}; it must hold {{question}} and {{demonstration}}, and write "
                f"other braces twice"
            )


def token_loss(tokens: Tokens, options: Options) -> Tensor:
    """The divergence at each supervised token, in nats, of shape (T,)."""
    assert tokens.reference_T_V is not None
    return divergence(
        tokens.logits_T_V,
        tokens.reference_T_V,
        _formula(options),
        options.temperature,
        options.top_k,
        options.add_tail,
    )


def rollout_rows(rollouts: Sequence[Rollout], tokenizer: Any, options: Options) -> list[list[Row]]:
    """Each completion after its prompt, of shape (P, N). The teacher's prompt also has the example's answer as a
    demonstration. Raises ValueError for an example without an answer.
    """
    rows = []
    for one in rollouts:
        teacher_prompt_ids = encode(tokenizer, _teacher_prompt(one.chat, options.template))
        rows.append(
            [
                replace(
                    completion_row(one.prompt_ids, ids, options.skip_tokens),
                    reference=completion_row(teacher_prompt_ids, ids, options.skip_tokens),
                )
                for ids in one.completions
            ]
        )
    return rows


def _teacher_prompt(chat: Chat, template: str) -> Chat:
    if chat[-1]["role"] != "assistant":
        raise ValueError("sdft: an example has no answer to use as its demonstration")
    *before, question, answer = chat
    content = template.format(question=question["content"], demonstration=answer["content"])
    return [*before, {**question, "content": content}]


def _formula(options: Options) -> Formula:
    if options.beta is not None:
        beta = options.beta
        return lambda student, teacher: jsd(student, teacher, beta)
    return kl if options.direction == "student_teacher" else lambda student, teacher: kl(teacher, student)


def _is_template(template: str) -> bool:
    try:
        fields = {field for _, field, _, _ in Formatter().parse(template) if field is not None}
    except ValueError:
        return False
    return fields == {"question", "demonstration"}


OBJECTIVE = Objective(
    options=Options,
    token_loss=token_loss,
    mean_over="rows",
    rollout_rows=rollout_rows,
    sampling=lambda options: Sampling(temperature=options.temperature),
    reference=lambda options: Reference(options.teacher, options.ema_rate),
)
