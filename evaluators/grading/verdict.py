"""What a benchmark says of an answer."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Verdict:
    """The grade of one answer.

    `score` is 1 for a right answer and 0 for a wrong one (some tasks of other harnesses have scores in between).
    `found` is False where the answer has no part that could be graded: another thing than a wrong answer. `answer` is
    that part as it was read, which majority votes count. `note` says why the grading was given up, where it was.
    `parts` holds finer verdicts by name, as IFEval's on each instruction.
    """

    score: float
    found: bool
    answer: str | None = None
    note: str = ""
    parts: dict[str, list[bool]] = field(default_factory=dict)

    @property
    def correct(self) -> bool:
        return self.score >= 1
