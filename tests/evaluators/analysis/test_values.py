"""Values of examples as numbers: means over seeds, differences, and values by class of token."""

import numpy as np
import pytest

from evaluators.analysis.values import Ratios, Shares, halves


def shares(values: list[float], levels: list[int] | None = None) -> Shares:
    parts = [{"level": level} for level in levels or []]
    return Shares(ids=[str(i) for i in range(len(values))], values=values, parts=parts)


def ratios(sums: list[float], tokens: list[int]) -> Ratios:
    ids = [str(i) for i in range(len(sums))]
    return Ratios(ids=ids, sums=[{"all": s} for s in sums], tokens=[{"all": n} for n in tokens])


def test_shares_are_summarised_over_seeds_and_examples():
    seeds = [shares([1, 0, 0, 0], [1, 1, 2, 2]), shares([1, 1, 0, 0], [1, 1, 2, 2])]
    found = Shares.summary(seeds, shares([1, 1, 1, 1], [1, 1, 2, 2]), shares([0, 0, 0, 1]))
    assert (found.n, found.value.value, found.untrained, found.teacher) == (4, 3 / 8, 1, 1 / 4)
    assert found.change.value == pytest.approx(-5 / 8)
    assert (found.groups, found.untrained_groups) == ({"level": {"1": 0.75, "2": 0}}, {"level": {"1": 1, "2": 1}})
    assert found.p < 0.5


def test_shares_of_an_untrained_model_have_no_change():
    found = Shares.summary([shares([1, 0])], None, None)
    assert (found.value.value, found.change, found.p, found.untrained) == (0.5, None, None, None)


def test_a_difference_pairs_examples_by_their_ids():
    one = shares([1, 0, 0])
    backwards = Shares(ids=one.ids[::-1], values=one.values[::-1])
    assert Shares.difference([one], [backwards]).value == 0
    with pytest.raises(AssertionError, match="pair"):
        Shares.difference([one], [shares([1, 0])])


def test_only_mean_scores_of_verdicts_have_a_detectable_change():
    many, before = [1.0] * 50 + [0.0] * 50, [1.0] * 100
    assert 0 < Shares.summary([shares(many)], shares(before), None).detectable < 1
    assert Shares.summary([shares([0.5, *many[1:]])], shares(before), None).detectable is None
    assert Shares.summary([shares([0, 0, 0, 0])], shares([1, 1, 1, 1]), None).detectable is None  # too few examples


def test_a_ratio_is_a_mean_per_token():
    found = Ratios.summary([ratios([3.0, 6.0], [2, 4])], ratios([0.0, 0.0], [2, 4]), None)
    assert (found.n, found.untrained) == (2, 0)
    assert (found.value.value, found.value.low, found.value.high) == pytest.approx((1.5, 1.5, 1.5))
    assert found.classes == {"all": found.value}


def test_two_ratios_are_compared_as_independent_estimates():
    one, other = ratios([1.0, 5.0], [2, 4]), ratios([2.0, 3.0], [2, 4])
    found, first, second = Ratios.difference([one], [other]), one.per_token(), other.per_token()
    assert found.value == pytest.approx(1 / 6)
    width = np.hypot(first.value - first.low, second.high - second.value)
    assert found.value - found.low == pytest.approx(width)


def test_seeds_of_the_same_prompt_vary_together():
    rng = np.random.default_rng(1)
    seeds = [ratios(rng.normal(20, 5, 100).tolist(), [10] * 100)] * 5
    alone, together = Ratios.summary(seeds[:1], None, None).value, Ratios.summary(seeds, None, None).value
    expected = pytest.approx((alone.value, alone.low, alone.high))
    assert (together.value, together.low, together.high) == expected, "five copies are worth no more than one"


def test_seeds_may_have_other_classes_of_tokens():
    one = Ratios(ids=["a"], sums=[{"all": 1.0}], tokens=[{"all": 1}])
    other = Ratios(ids=["a"], sums=[{"all": 2.0, "answer": 1.0}], tokens=[{"all": 2, "answer": 1}])
    found = Ratios.summary([one, other], None, None)
    assert {name: each.value for name, each in found.classes.items()} == {"all": 1, "answer": 1}


def test_halves_leave_the_middle_out():
    assert halves([5, 1, 2, 3, 4, 4]) == ({1, 2}, {4, 5})
    assert halves([1, 2, 10, 9]) == ({1, 2}, {9, 10})
    with pytest.raises(ValueError, match="one part only"):
        halves([1, 1])
