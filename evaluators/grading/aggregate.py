"""One score for the several answers to an example.

- `mean`: the share of right answers, which over all examples is avg@n;
- `pass@k`: the chance that k answers hold a right one, by the unbiased estimator of Chen et al. 2021 (arXiv
  2107.03374). It is also best-of-k where a verifier picks, since a verifier picks a right answer if there is one;
- `majority`: whether the answer that was read off most often is right; the earlier one of two that are equally often;
- `majority@k`: the same of k answers: the mean over as many disjoint groups of k as there are, in the order in which
  they were sampled, which is unbiased.
"""

import re
from collections import Counter
from collections.abc import Sequence
from math import comb

from evaluators.grading.verdict import Verdict

AT_K = re.compile(r"(pass|majority)@([1-9]\d*)")
WAYS = "mean, majority, majority@k as in majority@4, or pass@k"


def check_aggregation(way: str, samples: int) -> None:
    """Raise ValueError for a way of scoring that does not exist, or needs more samples than there are."""
    if way in ("mean", "majority"):
        return
    match = AT_K.fullmatch(way)
    if not match:
        raise ValueError(f"score: there is no {way!r}; it is one of {WAYS}")
    if int(match[2]) > samples:
        raise ValueError(f"score: {way} needs {match[2]} samples, and there are {samples}: raise samples")


def score(verdicts: Sequence[Verdict], way: str) -> float:
    """The score of one example."""
    if way == "mean":
        return sum(verdict.score for verdict in verdicts) / len(verdicts)
    if way == "majority":
        return majority(verdicts)
    match = AT_K.fullmatch(way)
    assert match
    k = int(match[2])
    if match[1] == "majority":
        groups = [verdicts[at : at + k] for at in range(0, len(verdicts) - k + 1, k)]
        return sum(map(majority, groups)) / len(groups)
    return pass_at(k, len(verdicts), sum(verdict.correct for verdict in verdicts))


def pass_at(k: int, n: int, correct: int) -> float:
    """The chance that k of n answers, drawn without replacement, hold one of the `correct` ones."""
    return 1 - comb(n - correct, k) / comb(n, k)


def majority(verdicts: Sequence[Verdict]) -> float:
    """The score of the answer that most of them give; answers are the same when they read the same but for blanks."""
    read = ["".join(verdict.answer.split()) if verdict.answer is not None else None for verdict in verdicts]
    votes = Counter(answer for answer in read if answer is not None)
    if not votes:
        return 0.0
    winner = max(votes, key=lambda answer: votes[answer])
    return verdicts[read.index(winner)].score
