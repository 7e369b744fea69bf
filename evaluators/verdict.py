"""What a benchmark says of an answer."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """`found` is False where the answer has no part that could be graded: another thing than a wrong answer."""

    correct: bool
    found: bool
