"""Which budgets a search runs."""

import math

import pytest

from orchestrator.plan.bisection import next_budget, paths


def budgets_run(budgets: list[int], recovery_budget: float) -> list[int]:
    shares: dict[int, float] = {}
    while (budget := next_budget(budgets, shares, 0.95)) is not None:
        assert budget not in shares
        shares[budget] = 1.0 if budget >= recovery_budget else 0.5
    return list(shares)


@pytest.mark.parametrize("n", range(1, 20))
def test_a_search_brackets_the_recovery_budget_in_a_logarithmic_number_of_budgets(n):
    budgets = [2**i for i in range(n)]
    for place, recovery_budget in enumerate([*budgets, math.inf]):
        found = budgets_run(budgets, recovery_budget)
        assert found[0] == 0
        assert len(found) - 1 <= math.ceil(math.log2(n + 1))
        below, enough = ([b for b in found if (b >= recovery_budget) == is_enough] for is_enough in (False, True))
        assert max(below) == (budgets[place - 1] if place else 0)
        assert enough == [] if recovery_budget == math.inf else min(enough) == recovery_budget


def test_a_student_without_a_loss_is_not_trained_further():
    assert budgets_run([1, 2, 3], 0) == [0]


def test_budgets_off_the_path_decide_nothing():
    assert next_budget([1, 2, 3], {0: 0.0, 1: 1.0, 3: 0.0}, 0.95) == 2
    assert next_budget([1, 2, 3], {1: 1.0, 2: 1.0, 3: 1.0}, 0.95) == 0


def test_all_paths_of_a_search():
    assert list(paths([4, 8, 16])) == [[8, 4], [8, 4], [8, 16], [8, 16]]
