"""Final answers in \\boxed{...}, and whether they equal the gold answer."""

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


def _number(text: str) -> Fraction | None:
    try:
        return Fraction(text.strip().replace(",", ""))
    except (ValueError, ZeroDivisionError):
        return None
