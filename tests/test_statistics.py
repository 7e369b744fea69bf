"""Paired changes and their intervals, on simulated scores."""

import numpy as np
import pytest

from evaluators.statistics import mean_score, paired_change

EFFECT = -0.25


def simulate(rng, examples: int, seeds: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores before, and after a loss of 25 points; an example's difficulty is the same before and after."""
    chance = rng.uniform(0.4, 1.0, examples)
    before = (rng.random(examples) < chance).astype(float)
    after = (rng.random((seeds, examples)) < chance + EFFECT).astype(float)
    return before, after


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    intervals = [paired_change(*simulate(rng, 150, 3)) for _ in range(300)]
    covered = np.mean([i.low <= EFFECT <= i.high for i in intervals])
    assert 0.90 <= covered <= 0.99
    assert np.mean([i.high < 0 for i in intervals]) > 0.95
    assert np.mean([i.value for i in intervals]) == pytest.approx(EFFECT, abs=0.02)


def test_no_effect_is_seldom_taken_for_one():
    rng = np.random.default_rng(1)
    chance = rng.uniform(0.2, 0.9, 150)
    draws = [
        ((rng.random(150) < chance).astype(float), (rng.random((2, 150)) < chance).astype(float)) for _ in range(300)
    ]
    intervals = [paired_change(before, after) for before, after in draws]
    assert np.mean([i.low > 0 or i.high < 0 for i in intervals]) < 0.1


def test_change_turns_its_sign_with_before_and_after():
    before, after = simulate(np.random.default_rng(2), 80, 1)
    there, back = paired_change(before, after), paired_change(after[0], before[None, :])
    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low))


def test_as_many_gains_as_losses_have_an_interval_about_zero():
    before = np.array([1.0, 0.0] * 100)
    change = paired_change(before, (1 - before)[None, :])
    assert change.value == 0
    assert change.low == pytest.approx(-change.high, abs=0.02)
    assert change.high == pytest.approx(1.96 / np.sqrt(200), rel=0.1)


def test_an_unchanged_student_has_no_change_however_scores_vary():
    before = np.array([1.0, 0.0] * 50)
    change = paired_change(before, np.stack([before, before]))
    assert (change.value, change.low, change.high) == (0, 0, 0)
    score = mean_score(before[None, :])
    assert score.high - score.low > 0.1


def test_fewer_examples_make_a_wider_interval():
    before, after = simulate(np.random.default_rng(3), 800, 2)
    widths = [(i := paired_change(before[:n], after[:, :n])).high - i.low for n in (50, 200, 800)]
    assert widths[0] > 1.5 * widths[1] > 2 * widths[2]


def test_seeds_that_disagree_make_a_wider_interval():
    before = np.ones(200)
    agree = paired_change(before, np.tile([1.0, 0.0], (4, 100)))
    differ = paired_change(before, np.repeat([[1.0], [0.0], [1.0], [0.0]], 200, axis=1))
    assert agree.value == differ.value == -0.5
    assert differ.high - differ.low > 3 * (agree.high - agree.low)


def test_the_same_scores_give_the_same_interval():
    before, after = simulate(np.random.default_rng(4), 60, 2)
    assert paired_change(before, after) == paired_change(before.copy(), after.copy())
    assert paired_change(before, after, seed=1) != paired_change(before, after)
