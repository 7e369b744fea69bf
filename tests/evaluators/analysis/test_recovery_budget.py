"""The budget at which a student is back, of made-up scores."""

import math

import numpy as np
import pytest

from evaluators.analysis.recovery_budget import Bracket, Budget, _rising, recovery_budget

N = 200
ALL = np.ones(N)


def right(n: int, shift: int = 0) -> np.ndarray:
    """So many of the examples right, from the one at `shift` on."""
    return np.roll(np.arange(N) < n, shift).astype(float)


def test_the_crossing_lies_on_the_line_between_its_bracket():
    walk = {0: right(50), 32: right(100), 128: right(170), 512: right(200)}
    found = recovery_budget(ALL, [walk], 0.95)
    assert found.brackets == [Bracket(128, 512)]
    # From 0.85 to 1 two thirds of the way, on the axis log(1 + budget).
    assert found.value.value == pytest.approx(129 * (513 / 129) ** (2 / 3) - 1)
    assert 128 < found.low.value < found.value.value < found.high.value < 512
    assert not found.value.beyond


def test_a_share_is_of_what_the_original_student_can():
    walk = {0: right(50), 31: right(100)}
    found = recovery_budget(right(100), [walk], 0.75)
    assert found.value.value == pytest.approx(math.sqrt(32) - 1)


def test_a_student_that_is_not_back_is_beyond_the_grid():
    found = recovery_budget(ALL, [{0: right(50), 32: right(60), 512: right(100)}] * 3, 0.95)
    assert found.value == found.low == found.high == Budget(pytest.approx(512), True)
    assert str(found.value) == "> 512"
    assert found.brackets == [Bracket(512, None)] * 3


def test_budgets_are_shown_as_one_would_write_them():
    assert [str(Budget(value, False)) for value in (0, 3.14159, 74.96, 181.4, 2047.9)] == [
        *("0", "3.14", "75", "181", "2,048")
    ]


def test_an_interval_may_reach_beyond_what_was_measured():
    found = recovery_budget(ALL, [{0: right(50), 32: right(150), 512: right(191)}], 0.95)
    assert not found.value.beyond
    assert (round(found.high.value), found.high.beyond) == (512, True)


def test_a_student_that_lost_nothing_needs_nothing():
    found = recovery_budget(ALL, [{0: right(199)}] * 2, 0.95)
    assert (str(found.value), str(found.low), str(found.high)) == ("0", "0", "0")
    assert found.brackets == [Bracket(None, 0)] * 2
    assert str(recovery_budget(np.zeros(N), [{0: np.zeros(N)}], 0.95).value) == "0"


def test_a_student_that_nearly_lost_too_much_is_not_sure():
    found = recovery_budget(ALL, [{0: right(191)}], 0.95)
    assert (str(found.value), str(found.high)) == ("0", "> 0")


def test_over_seeds_it_is_the_median_and_the_interval_spans_them():
    walks = [{0: right(0), 2**k - 1: ALL} for k in (2, 4, 8)]
    found = recovery_budget(ALL, walks, 0.5)
    assert found.value.value == pytest.approx(2**2 - 1)
    assert (found.low.value, found.high.value) == (pytest.approx(2**1 - 1), pytest.approx(2**4 - 1))
    two = recovery_budget(ALL, walks[1:], 0.5)
    assert two.value.value == pytest.approx(2**3 - 1), "the mean, where the axis has its lines"


def test_a_seed_beyond_the_grid_is_not_taken_for_one_at_its_end():
    walks = [{0: right(0), 3: ALL}, {0: right(0), 3: right(20)}]
    found = recovery_budget(ALL, walks, 0.5)
    assert (found.value.beyond, found.low.beyond, found.high.beyond) == (True, False, True)
    assert found.value.value == pytest.approx(2**1.5 - 1)  # at least: as if the second were back at once


def test_more_is_taken_not_to_be_worse():
    walk = {0: right(100), 4: right(192), 16: right(184), 64: right(200)}  # 0.96 and 0.92 are 0.94, twice
    found = recovery_budget(ALL, [walk], 0.95)
    assert found.brackets == [Bracket(16, 64)]
    assert found.value.value == pytest.approx(17 * (65 / 17) ** (1 / 6) - 1)


def test_an_example_keeps_its_answers_together():
    # Wherever the student is right before, it is right after: its share is the same in every draw of the examples.
    before = right(100)
    found = recovery_budget(before, [{0: np.zeros(N), 7: before}], 0.5)
    assert found.low.value == pytest.approx(found.high.value) == pytest.approx(math.sqrt(8) - 1)


def test_the_rising_values_are_those_of_isotonic_regression():
    from sklearn.isotonic import isotonic_regression

    values_D_B = np.random.default_rng(0).normal(size=(50, 6))
    np.testing.assert_allclose(_rising(values_D_B), [isotonic_regression(each) for each in values_D_B])


def test_what_does_not_pair_is_refused():
    for walk in ({4: ALL}, {0: ALL[1:]}):
        with pytest.raises(ValueError, match="budget 0"):
            recovery_budget(ALL, [walk], 0.95)
