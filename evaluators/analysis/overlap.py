"""How far two texts agree: the F1 score of their word n-grams (ROUGE-N of Lin 2004, "ROUGE: A Package for Automatic
Evaluation of Summaries"), on words between white space, with case and punctuation."""

from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """A training row and another answer to its prompt: the F1 score of their n-grams, and whether they are the same."""

    id: str
    f1: float
    identical: bool


def overlap(id: str, answer: str, other: str, n: int) -> Overlap:
    """The overlap of two answers. Texts with fewer than `n` words agree if they are the same."""
    first, second = (_ngrams(text.split(), n) for text in (answer, other))
    identical = answer.split() == other.split()
    total = first.total() + second.total()
    same = (first & second).total()
    return Overlap(id=id, f1=2 * same / total if total and not identical else float(identical), identical=identical)


def _ngrams(words: list[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
