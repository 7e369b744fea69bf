"""The search for the recovery budget: bisection over the sorted budgets.

It assumes that more of a recovery is not worse, so that one training decides for all budgets on one side of it. If the
student has lost too little to be recovered, no budget is run; otherwise at most log2(n + 1) of n. Only the budgets that
a search has run decide how it goes on: what the store holds of other budgets changes nothing.
"""

from collections.abc import Iterator, Mapping, Sequence

from evaluators.analysis.recovery_budget import is_recovered


def next_budget(budgets: Sequence[int], shares: Mapping[int, float], enough: float) -> int | None:
    """The next of the sorted `budgets` to run, given the recovered share of the score at those that were run; None at
    the end. Budget 0, the student before any recovery, is always the first."""
    if 0 not in shares:
        return 0
    below, reaches = len(budgets) if is_recovered(shares[0], enough) else -1, len(budgets)
    while reaches - below > 1:
        middle = (below + reaches) // 2
        if budgets[middle] not in shares:
            return budgets[middle]
        if is_recovered(shares[budgets[middle]], enough):
            reaches = middle
        else:
            below = middle
    return None


def paths(budgets: Sequence[int]) -> Iterator[list[int]]:
    """The budgets above 0 that a search can run: one list for each possible recovery budget, and one for none."""
    for place in range(len(budgets) + 1):
        shares = {0: 0.0}
        while (budget := next_budget(budgets, shares, 1.0)) is not None:
            shares[budget] = float(budgets.index(budget) >= place)
        yield list(shares)[1:]
