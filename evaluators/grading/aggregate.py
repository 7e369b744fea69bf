"""How the verdicts on several completions of an example become one score.

- `mean`: the share of correct completions; over all examples it is avg@n;
- `pass@k`: the probability that at least one of k completions is correct, by the unbiased estimator of Chen et al. 2021
  (arXiv 2107.03374); this is also best-of-k with a perfect verifier;
- `majority`: whether the most frequent answer is correct; of equally frequent answers the first counts;
- `majority@k`: `majority` of k completions, averaged over disjoint groups of k in sampling order, which is unbiased.

With `by chance` after it, as `pass@8 by chance`, completions are graded against another example: the score of a model
that gives such answers without regard to the question.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import comb
from statistics import fmean

from evaluators.grading.verdict import Verdict

AT_K = re.compile(r"(pass|majority)@([1-9]\d*)")
BY_CHANCE = " by chance"
AGGREGATIONS = "mean, majority, majority@k (such as majority@4), or pass@k; with `by chance` after it if you like"


def check_aggregation(aggregation: str, samples: int) -> None:
    """Raise ValueError for an unknown aggregation, and for one that needs more than `samples` completions."""
    aggregation = aggregation.removesuffix(BY_CHANCE)
    if aggregation in ("mean", "majority"):
        return
    match = AT_K.fullmatch(aggregation)
    if not match:
        raise ValueError(f"score: there is no {aggregation!r}; use {AGGREGATIONS}")
    if int(match[2]) > samples:
        raise ValueError(f"score: {aggregation} needs {match[2]} samples, and there are {samples}: raise samples")


def score(verdicts: Sequence[Verdict], aggregation: str) -> float:
    """The score of one example, from 0 to 1. Whatever is graded by chance was graded so before."""
    aggregation = aggregation.removesuffix(BY_CHANCE)
    if aggregation == "mean":
        return sum(verdict.score for verdict in verdicts) / len(verdicts)
    if aggregation == "majority":
        return majority(verdicts)
    match = AT_K.fullmatch(aggregation)
    assert match
    k = int(match[2])
    if match[1] == "majority":
        groups = [verdicts[at : at + k] for at in range(0, len(verdicts) - k + 1, k)]
        return sum(map(majority, groups)) / len(groups)
    return pass_at(k, len(verdicts), sum(verdict.correct for verdict in verdicts))


def pass_at(k: int, n: int, correct: int) -> float:
    """The probability that k of n completions, drawn without replacement, include one of the `correct` ones."""
    return 1 - comb(n - correct, k) / comb(n, k)


def majority(verdicts: Sequence[Verdict]) -> float:
    """The score of the most frequent answer; answers are compared as text without whitespace."""
    answers = ["".join(verdict.answer.split()) if verdict.answer is not None else None for verdict in verdicts]
    votes = Counter(answer for answer in answers if answer is not None)
    if not votes:
        return 0.0
    winner = max(votes, key=lambda answer: votes[answer])
    return verdicts[answers.index(winner)].score


def group_means(scores: Iterable[tuple[Mapping[str, str | int], float]]) -> dict[str, dict[str, float]]:
    """The mean of each group, such as {"level": {"1": 0.9, ...}}, from each example's groups and score."""
    found: dict[str, dict[str | int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for groups, each in scores:
        for name, group in groups.items():
            found[name][group].append(each)
    return {name: {str(k): fmean(v) for k, v in sorted(parts.items())} for name, parts in found.items()}
