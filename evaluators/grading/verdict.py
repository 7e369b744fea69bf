"""The grade of one completion, and the error for a gold answer that allows none."""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The grade of one completion.

    `score` is 1 for a correct and 0 for a wrong answer; some lm-eval tasks have scores in between. `parsed` is False
    where no answer could be extracted. `answer` is the extracted answer, which majority voting counts. `note` says why
    grading failed, where it did. `parts` holds partial results by name, as IFEval's for each instruction.
    """

    score: float
    parsed: bool
    answer: str | None = None
    note: str = ""
    parts: dict[str, list[bool]] = field(default_factory=dict)

    @property
    def correct(self) -> bool:
        return self.score >= 1


class UnreadableGold(ValueError):
    """A gold answer that the grader cannot read; the message names its row. A study may skip such rows."""
