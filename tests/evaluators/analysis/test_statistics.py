"""Intervals, tests and power, on simulated studies and, for simple cases, against scipy."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from evaluators.analysis.statistics import (
    Interval,
    corrected,
    difference,
    gap_closed,
    mcnemar,
    mean_of_seeds,
    mean_score,
    paired_change,
    paired_difference,
    smallest_effect,
)
from perf.simulation import Design, simulate, simulate_gap, simulate_parts, simulate_two


def coverage(design: Design, studies: int = 400) -> tuple[float, float]:
    """The coverage of the intervals of the change and of the score."""
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(studies):
        before, after, truth = simulate(design, rng)
        change, score = paired_change(before, after), mean_score(after)
        covered.append((change.low <= truth - design.base <= change.high, score.low <= truth <= score.high))
    return tuple(np.mean(covered, axis=0))


@pytest.mark.slow
@pytest.mark.parametrize(
    "design",
    [
        Design("usual"),
        Design("one seed", seeds=1),
        Design("samples", samples=4, examples=60),
        Design("5 seeds, apart", seeds=5, between_seeds=0.4),
    ],
    ids=lambda d: d.name,
)
def test_intervals_have_their_nominal_coverage(design):
    assert all(0.92 <= share <= 0.985 for share in coverage(design))


HARM, LESS = Design("harm"), Design("less", change=-0.05)
HIGHER = Design("higher levels", examples=80, base=0.5, change=-0.3)
LOWER = Design("lower levels", examples=80, base=0.85, change=-0.1)


def one_seed(*designs: Design) -> list[Design]:
    return [replace(design, seeds=1) for design in designs]


@pytest.mark.slow
@pytest.mark.parametrize("designs", [(HARM, LESS), one_seed(HARM, LESS), (HARM, HARM)])
def test_the_interval_of_the_difference_between_two_students_contains_the_true_value(designs):
    rng = np.random.default_rng(0)
    intervals = [simulate_two(*designs, rng) for _ in range(300)]
    assert 0.92 <= np.mean([interval.low <= truth <= interval.high for interval, truth in intervals]) <= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("designs", [(HIGHER, LOWER), one_seed(HIGHER, LOWER), (HARM, HARM)])
def test_the_interval_of_the_difference_between_two_parts_contains_the_true_value(designs):
    rng = np.random.default_rng(0)
    intervals = [simulate_parts(*designs, rng) for _ in range(300)]
    assert 0.92 <= np.mean([interval.low <= truth <= interval.high for interval, truth in intervals]) <= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("designs", [(HARM, LESS), one_seed(HARM, LESS), (HARM, HARM)])
def test_the_interval_of_the_gap_closed_contains_the_true_share(designs):
    rng = np.random.default_rng(0)
    intervals = [simulate_gap(*designs, rng) for _ in range(300)]
    assert 0.92 <= np.mean([interval.low <= truth <= interval.high for interval, truth in intervals]) <= 0.99


def test_the_gap_closed_is_a_share_of_the_way_to_the_target():
    target = np.ones(40)
    before, half, all_of_it = (np.tile(np.arange(40) >= n, (2, 1)).astype(float) for n in (20, 10, 0))
    assert gap_closed(before, half, target).value == pytest.approx(0.5)
    assert gap_closed(before, all_of_it, target).value == pytest.approx(1)
    assert gap_closed(before, before, target).value == 0
    assert gap_closed(half, before, target).value == pytest.approx(-1)
    for after in (half, all_of_it):
        found = gap_closed(before, after, target)
        assert found.low < found.value < found.high
    more = [np.tile(one, 10) for one in (before, half)]
    few, many = gap_closed(before, half, target), gap_closed(*more, np.tile(target, 10))
    assert many.high - many.low < 0.5 * (few.high - few.low)
    with pytest.raises(ValueError, match="no gap"):
        gap_closed(before, half, before[0])


def test_one_number_of_each_seed_has_the_t_interval():
    found = mean_of_seeds([0.1, 0.2, 0.4])
    theirs = stats.ttest_1samp([0.1, 0.2, 0.4], 0).confidence_interval()
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high))
    assert mean_of_seeds([0.3]) == Interval(0.3, 0.3, 0.3)


def test_a_difference_is_paired_by_examples_and_by_seeds():
    rng = np.random.default_rng(9)
    one, other = rng.integers(0, 2, (2, 3, 50)).astype(float)
    there, back = paired_difference(one, other), paired_difference(other, one)
    assert there.value == pytest.approx(one.mean() - other.mean())
    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low))
    assert paired_difference(one, other[:1]) == paired_change(other[0], one)
    same = paired_difference(one, one)
    assert (same.value, same.high < 0.1) == (0, True)
    for first, second in ((one, other[:2]), (one, other[:, :49])):
        with pytest.raises(ValueError, match="do not pair"):
            paired_difference(first, second)


def test_the_difference_of_two_proportions_is_newcombes():
    def wilson(right: int, n: int) -> Interval:
        interval = stats.binomtest(right, n).proportion_ci(method="wilson")
        return Interval(right / n, interval.low, interval.high)

    # Newcombe 1998, table II, first example, method 10: 56/70 - 48/80.
    found = difference(wilson(56, 70), wilson(48, 80))
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_simulated_studies_know_their_true_values():
    rng = np.random.default_rng(0)
    before, after, truth = simulate(Design("large", examples=20_000, seeds=100, change=-0.3, between_seeds=0.5), rng)
    assert (before.mean(), after.mean(), truth) == pytest.approx((0.7, 0.4, 0.4), abs=0.03)
    _, after, truth = simulate(Design("one", examples=200_000, seeds=1, between_seeds=2.0), rng)
    assert after.mean() == pytest.approx(truth, abs=0.005)
    assert truth != 0.5


def test_for_one_seed_the_interval_is_the_paired_bootstrap():
    before, after, _ = simulate(Design("one seed", seeds=1, samples=2), np.random.default_rng(0))
    padded = np.append(after[0] - before, [-1, 1])
    theirs = stats.bootstrap((padded,), np.mean, method="percentile", n_resamples=50_000, rng=np.random.default_rng(0))
    ours = paired_change(before, after)
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval), abs=0.003)
    assert ours.value == np.mean(after[0] - before)


def test_many_examples_of_one_seed_have_the_normal_interval():
    scores = (np.random.default_rng(0).random((1, 20_000)) < 0.3).astype(float)
    ours = mean_score(scores)
    half = 1.96 * scores.std() / np.sqrt(scores.size)
    assert (ours.low, ours.high) == pytest.approx((ours.value - half, ours.value + half), abs=1e-4)


def test_where_only_seeds_differ_the_interval_is_their_t_interval():
    by_seed = np.array([0.4, 0.5, 0.6])
    ours = mean_score(np.tile(by_seed[:, None], (1, 20_000)))
    theirs = stats.ttest_1samp(by_seed, 0).confidence_interval()
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs), abs=0.01)


def test_a_low_variance_over_seeds_does_not_narrow_the_interval():
    scores = np.array([[1.0, 0.0] * 50, [0.0, 1.0] * 50, [1.0, 0.0] * 50, [0.0, 1.0] * 50])
    scores[0, :10] = 1
    alike, one = mean_score(scores), mean_score(scores.mean(axis=0)[None, :])
    assert (alike.low, alike.high) == pytest.approx((one.low, one.high))


def test_the_interval_has_a_width_where_nothing_changed():
    scores = np.array([1.0, 0.0] * 100)
    change = paired_change(scores, np.stack([scores] * 3))
    assert change.value == 0
    assert -change.low == pytest.approx(change.high)
    assert 0.01 < change.high < 0.02
    rounded = paired_change(np.full(200, 0.3), np.full((1, 200), 0.1 + 0.2))
    assert 0.01 < rounded.high < 0.02
    perfect = mean_score(np.ones((1, 200)))
    assert (perfect.value, perfect.high) == (1, 1)
    assert perfect.low == pytest.approx(stats.binomtest(200, 200).proportion_ci().low, abs=0.01)


def test_swapping_before_and_after_flips_the_sign():
    rng = np.random.default_rng(2)
    before, after = rng.integers(0, 2, 80).astype(float), rng.integers(0, 4, (1, 80)) / 3
    there, back = paired_change(before, after), paired_change(after[0], before[None, :])
    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low))
    assert mcnemar(after[0], before[None, :]) == pytest.approx(mcnemar(before, after))
    seeds = rng.integers(0, 2, (3, 80)).astype(float)
    there, back = paired_change(before, seeds), paired_change(1 - before, 1 - seeds)
    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low))


def test_the_interval_contains_the_value_and_stays_in_range():
    rng = np.random.default_rng(3)
    for seeds, examples in itertools.product((1, 2, 4), (1, 2, 5, 40)):
        for chance in (0, 0.05, 0.5, 1):
            before, after = (rng.random(s) < chance for s in (examples, (seeds, examples)))
            change, score = paired_change(before.astype(float), after.astype(float)), mean_score(after.astype(float))
            assert -1 <= change.low <= change.value <= change.high <= 1
            assert 0 <= score.low <= score.value <= score.high <= 1


def test_scores_without_a_common_denominator():
    rng = np.random.default_rng(4)
    before, after = rng.random(100), rng.random((1, 100))
    ours, theirs = paired_change(before, after), stats.ttest_rel(after[0], before)
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval()), abs=0.01)
    p = mcnemar(before, after)
    assert p == pytest.approx(theirs.pvalue, abs=0.03)
    assert p == mcnemar(before, after)
    assert p * 5000 == pytest.approx(round(p * 5000))  # of 9,999 flips and the observed one, two-sided


@pytest.mark.parametrize(("gains", "losses"), [(0, 0), (0, 1), (3, 3), (4, 9), (20, 2), (1, 90)])
def test_for_one_seed_the_test_is_mcnemars(gains, losses):
    before = np.repeat([0.0, 1.0, 1.0, 0.0], [gains, losses, 15, 10])
    after = np.repeat([1.0, 0.0, 1.0, 0.0], [gains, losses, 15, 10])
    theirs = stats.binomtest(gains, gains + losses).pvalue if gains + losses else 1.0
    assert mcnemar(before, after[None, :]) == pytest.approx(theirs, rel=1e-9)


def test_for_several_seeds_the_test_flips_whole_examples():
    rng = np.random.default_rng(5)
    flips = np.array(list(itertools.product([-1, 1], repeat=14)))
    for before, after in (
        (rng.integers(0, 3, 14) / 2, rng.integers(0, 3, (3, 14)) / 2),
        (np.array([0.5] * 3 + [0.0] * 11), np.array([[0.0] * 3 + [1 / 3] * 10 + [0.0]])),
    ):
        sixths = np.rint(6 * (after.mean(axis=0) - before))
        assert mcnemar(before, after) == pytest.approx(np.mean(np.abs(flips @ sixths) >= abs(sixths.sum())), rel=1e-9)


@pytest.mark.slow
def test_p_values_are_uniform_under_no_change():
    rng = np.random.default_rng(6)
    for design in (Design("one", seeds=1, change=0.0), Design("three", change=0.0, between_seeds=0.0)):
        p = np.array([mcnemar(*simulate(design, rng)[:2]) for _ in range(1000)])
        for level in (0.05, 0.2, 0.5):
            assert 0.6 * level < np.mean(p <= level) < 1.3 * level


def test_the_correction_is_benjamini_and_hochbergs():
    assert corrected([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.16 / 3, 0.16 / 3, 0.5])
    assert corrected([0.03]) == [0.03]
    assert corrected([]) == []
    assert np.isnan(corrected([float("nan")])).all()
    with_gap = corrected([0.01, float("nan"), 0.04])
    assert np.isnan(with_gap[1])
    assert [with_gap[0], with_gap[2]] == pytest.approx([0.02, 0.04])


@pytest.mark.slow
def test_the_correction_controls_false_discoveries_of_many_comparisons():
    rng = np.random.default_rng(7)
    wrong = []
    for _ in range(200):
        chance = rng.uniform(0.2, 1.0, 100)
        before = (rng.random(100) < chance).astype(float)
        cells = [mcnemar(before, (rng.random((1, 100)) < chance).astype(float)) for _ in range(20)]
        wrong.append((min(corrected(cells)) <= 0.05, min(cells) <= 0.05))
    after, uncorrected = np.mean(wrong, axis=0)
    assert after < 0.08
    assert uncorrected > 0.3


@pytest.mark.slow
@pytest.mark.parametrize(("n", "discordant"), [(200, 0.2), (200, None), (60, 0.5)])
def test_the_smallest_effect_has_its_nominal_power(n, discordant):
    effect = smallest_effect(n, discordant)
    share = effect if discordant is None else discordant
    rng = np.random.default_rng(8)
    found = []
    for _ in range(1500):
        changed, gains = rng.random(n) < share, rng.random(n) < (share + effect) / (2 * share)
        before = np.where(changed, 1.0 - gains, 1.0)
        found.append(mcnemar(before, np.where(changed, gains, 1.0)[None, :]) <= 0.05)
    assert np.mean(found) == pytest.approx(0.8, abs=0.035)


def test_the_smallest_effect_falls_with_examples_and_rises_with_noise():
    assert smallest_effect(500, 0.2) < smallest_effect(200, 0.2) < smallest_effect(200, 0.4)
    assert smallest_effect(200) < smallest_effect(200, 0.05)
    assert smallest_effect(200, 0.2) < smallest_effect(200, 0.2, power=0.9)
    assert smallest_effect(200, 0.2) < smallest_effect(200, 0.2, alpha=0.01)
    assert np.isnan(smallest_effect(200, 0.01))
    assert np.isnan(smallest_effect(5))


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (np.ones(3), np.ones((1, 4)), "do not pair"),
        (np.ones(3), np.ones(3), "shape"),
        (np.ones(0), np.ones((2, 0)), "shape"),
        (np.ones(2), np.array([[1.0, np.nan]]), "0 to 1"),
        (np.array([0.0, 2.0]), np.ones((1, 2)), "0 to 1"),
    ],
)
def test_scores_that_do_not_pair_or_are_out_of_range_are_refused(before, after, message):
    for function in (paired_change, mcnemar):
        with pytest.raises(ValueError, match=message):
            function(before, after)


def test_impossible_designs_are_refused():
    for n, discordant in ((0, 0.2), (200, 0.0), (200, 1.5)):
        with pytest.raises(ValueError, match="must be"):
            smallest_effect(n, discordant)
