"""SDFT: self-distillation fine-tuning. The student answers a question by itself, and at each token of its own answer
moves towards a teacher that is also itself, but has seen a demonstration of the answer.

loss_t = D(student(. | x, y_<t), teacher(. | x, demonstration, y_<t)),   y ~ student(. | x)
D      = KL(teacher || student)      for direction "teacher_student"
         KL(student || teacher)      for direction "student_teacher"
         jsd(student, teacher, beta) for direction "jsd", as in `divergence.py`

Source: "Self-Distillation Enables Continual Learning" (arXiv 2601.19897), its code, and TRL's experimental SDFTTrainer.
The mean is over each answer's tokens, then over answers, as in both. The defaults are those of the paper's results:

- direction: the paper writes KL(student || teacher); its results are KL(teacher || student), by its author's word and
  its code (alpha=0). TRL's `distillation_alpha` is 0, 1 or beta in the order above, and 0.5 by default.
- the full vocabulary, as in the paper. TRL's default is `top_k=100`, renormalised.
- 3 tokens skipped: the student would learn how a teacher with a demonstration begins ("Based on the example").
- the teacher follows the student: phi <- ema_rate theta + (1 - ema_rate) phi after each step; 0.01 is the code's rate,
  the paper's are 0.01, 0.02 and 0.05. TRL's default is the frozen teacher.
- the template is the code's; as the paper prints it, it ends in a colon.

Left out: the weights that the paper's code and TRL give to what an engine sampled with slightly other probabilities
than the student's own, and TRL's sampled-token estimator.
"""

from __future__ import annotations

from dataclasses import dataclass
from string import Formatter
from typing import TYPE_CHECKING, Literal

from trainers.objectives.divergence import divergence, jsd, kl

if TYPE_CHECKING:
    from torch import Tensor

    from trainers.objectives.divergence import Formula
    from trainers.objectives.tokens import Tokens

MEAN_OVER = "rows"
REFERENCE = "teacher"
DIRECTIONS = ("teacher_student", "student_teacher", "jsd")
TEACHERS = ("frozen", "ema", "live")
TEMPLATE = """
{question}

This is an example for a response to the question:
{demonstration}

Now answer with a response of your own, including the thinking process.
"""


@dataclass(frozen=True)
class Options:
    """The divergence (direction, beta, top_k, add_tail, temperature), and the teacher that it is taken from.

    `beta` is the teacher's share in the mixture, of "jsd" alone. `top_k` takes the divergence over the student's
    likeliest tokens only, `add_tail` with one bucket for all others. `temperature` is that of sampling, and divides
    both models' logits. `skip_tokens`: how many tokens at the start of an answer have no loss.

    `teacher`: the student as it was ("frozen"), as it is ("live"), or its moving average ("ema", by `ema_rate`).
    `template` is what the teacher is asked, by `str.format`.
    """

    direction: Literal["teacher_student", "student_teacher", "jsd"] = "teacher_student"
    beta: float | None = None
    top_k: int | None = None
    add_tail: bool = False
    temperature: float = 1.0
    skip_tokens: int = 3
    teacher: Literal["frozen", "ema", "live"] = "ema"
    ema_rate: float = 0.01
    template: str = TEMPLATE

    def __post_init__(self) -> None:
        if self.direction not in DIRECTIONS:
            raise ValueError(f"sdft: direction is {self.direction!r}; give one of {', '.join(DIRECTIONS)}")
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
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"sdft: temperature is {self.temperature}; give one above 0")
        if self.skip_tokens < 0:
            raise ValueError(f"sdft: skip_tokens is {self.skip_tokens}; give at least 0")
        if self.teacher not in TEACHERS:
            raise ValueError(f"sdft: teacher is {self.teacher!r}; give one of {', '.join(TEACHERS)}")
        if not 0 < self.ema_rate <= 1:
            raise ValueError(f"sdft: ema_rate is {self.ema_rate}; give one above 0 and up to 1, or teacher=frozen")
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
