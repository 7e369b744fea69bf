"""The search for the budget that brings a student back: bisection over the sorted budgets.

It takes it that more of a recovery is not worse, so that one training tells of all budgets on one side of it. Where the
student has lost nothing worth the name, no budget is tried; else at most log2(n + 1) of n. Only the budgets of its own
path decide where a search goes, so that what a store holds of others changes nothing.
"""

from collections.abc import Iterator, Mapping, Sequence

from evaluators.analysis.recovery_budget import is_recovered


def next_budget(budgets: Sequence[int], shares: Mapping[int, float], enough: float) -> int | None:
    """The next of the sorted `budgets` to be measured, after those of which the recovered share is known; None at the
    end. Budget 0 is the student before any recovery, and always the first."""
    if 0 not in shares:
        return 0
    short, reached = len(budgets) if is_recovered(shares[0], enough) else -1, len(budgets)
    while reached - short > 1:
        middle = (short + reached) // 2
        if budgets[middle] not in shares:
            return budgets[middle]
        if is_recovered(shares[budgets[middle]], enough):
            reached = middle
        else:
            short = middle
    return None


def paths(budgets: Sequence[int]) -> Iterator[list[int]]:
    """The budgets above 0 that a search can measure, for each place at which the student can turn out to be back."""
    for place in range(len(budgets) + 1):
        shares = {0: 0.0}
        while (budget := next_budget(budgets, shares, 1.0)) is not None:
            shares[budget] = float(budgets.index(budget) >= place)
        yield list(shares)[1:]
