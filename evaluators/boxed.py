"""Final answers in \\boxed{...}, and whether they equal the gold answer."""

import re
from fractions import Fraction

from evaluators.symbolic import same_mathematics


def last_boxed(text: str) -> str | None:
    """What the last \\boxed{...} holds, its braces balanced; None where there is none or it never closes."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    depth, begin = 0, start + len("\\boxed{")
    for i in range(begin, len(text)):
        if text[i] == "{":
            depth += 1
        elif text[i] == "}":
            if depth == 0:
                return text[begin:i].strip()
            depth -= 1
    return None


def equivalent(gold: str, answer: str) -> bool:
    """Whether two answers in LaTeX are the same: as text, as plain numbers, else by math-verify."""
    if gold.strip() == answer.strip():
        return True
    numbers = _number(gold), _number(answer)
    if None not in numbers:
        return numbers[0] == numbers[1]
    return same_mathematics(gold, answer)


def split_answers(text: str) -> list[str]:
    """Several answers in one text, at the commas that no bracket holds: `(1,2), 3` is `(1,2)` and `3`."""
    parts, depth, begin = [], 0, 0
    for i, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            parts.append(text[begin:i])
            begin = i + 1
    return [part.strip() for part in [*parts, text[begin:]]]


# No exponents: a short text may name a number that no memory holds. Commas only between groups of three digits.
_PLAIN = re.compile(r"[+-]?(\d{1,40}|\d{1,3}(,\d{3}){1,12})(\.\d{1,40}|/\d{1,40})?")


def _number(text: str) -> Fraction | None:
    text = text.strip()
    if not _PLAIN.fullmatch(text):
        return None
    try:
        return Fraction(text.replace(",", ""))
    except (ValueError, ZeroDivisionError):
        return None
