"""The recovery budget, on made-up scores."""

import math

import numpy as np
import pytest

from evaluators.analysis.recovery_budget import Bracket, Budget, _isotonic, recovery_budget

N = 200
ALL = np.ones(N)


def correct(n: int, shift: int = 0) -> np.ndarray:
    """Scores with `n` correct examples, from the one at `shift` on."""
    return np.roll(np.arange(N) < n, shift).astype(float)


def test_the_budget_is_interpolated_within_its_bracket():
    scores = {0: correct(50), 32: correct(100), 128: correct(170), 512: correct(200)}
    found = recovery_budget(ALL, [scores], 0.95)
    assert found.brackets == [Bracket(128, 512)]
    # From 0.85 to 1 two thirds of the way, on the axis log(1 + budget).
    assert found.value.value == pytest.approx(129 * (513 / 129) ** (2 / 3) - 1)
    assert 128 < found.low.value < found.value.value < found.high.value < 512
    assert not found.value.is_lower_bound


def test_a_share_is_relative_to_the_base_student():
    scores = {0: correct(50), 31: correct(100)}
    found = recovery_budget(correct(100), [scores], 0.75)
    assert found.value.value == pytest.approx(math.sqrt(32) - 1)


def test_a_student_that_never_recovers_has_a_lower_bound():
    found = recovery_budget(ALL, [{0: correct(50), 32: correct(60), 512: correct(100)}] * 3, 0.95)
    assert found.value == found.low == found.high == Budget(pytest.approx(512), True)
    assert str(found.value) == "> 512"
    assert found.brackets == [Bracket(512, None)] * 3


def test_how_budgets_are_written():
    assert [str(Budget(value, False)) for value in (0, 3.14159, 74.96, 181.4, 2047.9)] == [
        *("0", "3.14", "75", "181", "2,048")
    ]


def test_an_interval_may_end_above_the_largest_budget():
    found = recovery_budget(ALL, [{0: correct(50), 32: correct(150), 512: correct(191)}], 0.95)
    assert not found.value.is_lower_bound
    assert (round(found.high.value), found.high.is_lower_bound) == (512, True)


def test_a_student_that_lost_nothing_has_budget_0():
    found = recovery_budget(ALL, [{0: correct(199)}] * 2, 0.95)
    assert (str(found.value), str(found.low), str(found.high)) == ("0", "0", "0")
    assert found.brackets == [Bracket(None, 0)] * 2


def test_a_base_student_with_a_score_of_0_has_no_budget():
    assert recovery_budget(np.zeros(N), [{0: np.zeros(N), 32: correct(3)}], 0.95) is None


def test_draws_in_which_the_base_student_has_nothing_right_do_not_count():
    # It has one right answer, which a third of all draws leave out, and the student has lost it until 32.
    found = recovery_budget(correct(1), [{0: np.zeros(N), 32: correct(1)}], 0.95)
    assert found.low == found.value == found.high
    assert found.value.value == pytest.approx(33**0.95 - 1)


def test_a_student_close_to_the_threshold_has_a_wide_interval():
    found = recovery_budget(ALL, [{0: correct(191)}], 0.95)
    assert (str(found.value), str(found.high)) == ("0", "> 0")


def test_the_estimate_is_the_median_over_seeds_and_the_interval_spans_them():
    seeds = [{0: correct(0), 2**k - 1: ALL} for k in (2, 4, 8)]
    found = recovery_budget(ALL, seeds, 0.5)
    assert found.value.value == pytest.approx(2**2 - 1)
    assert (found.low.value, found.high.value) == (pytest.approx(2**1 - 1), pytest.approx(2**4 - 1))
    two = recovery_budget(ALL, seeds[1:], 0.5)
    assert two.value.value == pytest.approx(2**3 - 1), "the mean on the logarithmic axis"


def test_a_seed_that_never_recovers_is_not_one_that_recovers_at_the_largest_budget():
    seeds = [{0: correct(0), 3: ALL}, {0: correct(0), 3: correct(20)}]
    found = recovery_budget(ALL, seeds, 0.5)
    assert (found.value.is_lower_bound, found.low.is_lower_bound, found.high.is_lower_bound) == (True, False, True)
    assert found.value.value == pytest.approx(2**1.5 - 1)  # a lower bound, as if the second seed recovered at budget 3


def test_shares_are_made_non_decreasing():
    scores = {0: correct(100), 4: correct(192), 16: correct(184), 64: correct(200)}  # 0.96 and 0.92 are 0.94, twice
    found = recovery_budget(ALL, [scores], 0.95)
    assert found.brackets == [Bracket(16, 64)]
    assert found.value.value == pytest.approx(17 * (65 / 17) ** (1 / 6) - 1)


def test_the_scores_of_an_example_are_resampled_together():
    # The same examples are correct before and after, so that the share is the same in every draw.
    before = correct(100)
    found = recovery_budget(before, [{0: np.zeros(N), 7: before}], 0.5)
    assert found.low.value == pytest.approx(found.high.value) == pytest.approx(math.sqrt(8) - 1)


def test_the_fit_is_that_of_isotonic_regression():
    from sklearn.isotonic import isotonic_regression

    values_D_B = np.random.default_rng(0).normal(size=(50, 6))
    np.testing.assert_allclose(_isotonic(values_D_B), [isotonic_regression(each) for each in values_D_B])


def test_scores_that_do_not_pair_are_refused():
    for scores in ({4: ALL}, {0: ALL[1:]}):
        with pytest.raises(ValueError, match="budget 0"):
            recovery_budget(ALL, [scores], 0.95)
