"""Which budgets a search measures."""

import math

import pytest

from orchestrator.plan.bisection import next_budget, paths


def walked(budgets: list[int], back_at: float) -> list[int]:
    shares: dict[int, float] = {}
    while (budget := next_budget(budgets, shares, 0.95)) is not None:
        assert budget not in shares
        shares[budget] = 1.0 if budget >= back_at else 0.5
    return list(shares)


@pytest.mark.parametrize("n", range(1, 20))
def test_a_search_ends_between_neighbours_after_as_few_budgets_as_can_be(n):
    budgets = [2**i for i in range(n)]
    for place, back_at in enumerate([*budgets, math.inf]):
        found = walked(budgets, back_at)
        assert found[0] == 0
        assert len(found) - 1 <= math.ceil(math.log2(n + 1))
        below, above = ([b for b in found if (b >= back_at) == is_back] for is_back in (False, True))
        assert max(below) == (budgets[place - 1] if place else 0)
        assert above == [] if back_at == math.inf else min(above) == back_at


def test_a_student_that_is_not_hurt_is_not_trained():
    assert walked([1, 2, 3], 0) == [0]


def test_what_lies_off_the_way_decides_nothing():
    assert next_budget([1, 2, 3], {0: 0.0, 1: 1.0, 3: 0.0}, 0.95) == 2
    assert next_budget([1, 2, 3], {1: 1.0, 2: 1.0, 3: 1.0}, 0.95) == 0


def test_the_ways_that_a_search_can_go():
    assert list(paths([4, 8, 16])) == [[8, 4], [8, 4], [8, 16], [8, 16]]
