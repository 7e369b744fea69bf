"""The shares of the variance of a grid: planted effects, gaps, noise, and intervals."""

import itertools

import numpy as np
import pytest

from evaluators.analysis.grid_variance import GridVariance, grid_variance

STUDENT, TEACHER = np.array([-0.2, 0.0, 0.2])[:, None], np.array([-0.3, 0.1, 0.1, 0.1])
PAIRING = np.outer([1, -1, 0], [0.1, -0.1, 0.1, -0.1])
GAPS = {(0, 0), (1, 1), (2, 2)}


def of(table_P_S_E: np.ndarray, missing: set[tuple[int, int]] = frozenset()) -> GridVariance | None:
    """Of changes of shape (students, teachers, seeds, examples), without the missing pairs."""
    students, teachers = table_P_S_E.shape[:2]
    pairs = [pair for pair in itertools.product(range(students), range(teachers)) if pair not in missing]
    names = [[str(one) for one in each] for each in zip(*pairs, strict=True)]
    return grid_variance(np.array([table_P_S_E[pair] for pair in pairs]), *names)


def shares(found: GridVariance) -> list[float]:
    return [found.student.value, found.teacher.value, found.pairing.value, found.noise]


def exact(table: np.ndarray, seeds: int = 2, n: int = 5) -> np.ndarray:
    """The same change of all seeds and examples."""
    return np.broadcast_to(table[:, :, None, None], (*table.shape, seeds, n)).copy()


@pytest.mark.parametrize("missing", [set(), GAPS], ids=["whole", "gaps"])
@pytest.mark.parametrize(("part", "expected"), [("student", [1, 0, 0, 0]), ("teacher", [0, 1, 0, 0])])
def test_a_pure_effect_has_all_of_the_variance(part, expected, missing):
    table = np.zeros((3, 4)) - 0.3 + {"student": STUDENT, "teacher": TEACHER}[part]
    assert shares(of(exact(table), missing)) == pytest.approx(expected, abs=1e-9)


def test_a_pure_pairing_has_all_of_the_variance():
    assert shares(of(exact(PAIRING - 0.3))) == pytest.approx([0, 0, 1, 0], abs=1e-9)


def test_without_noise_the_shares_are_those_of_the_analysis_of_variance():
    found = of(exact(STUDENT + TEACHER + PAIRING))
    variances = np.array([one.var() for one in (STUDENT, TEACHER, PAIRING)])
    assert shares(found)[:3] == pytest.approx(variances / variances.sum())
    assert found.sd**2 == pytest.approx(variances.sum())
    assert (found.student.low, found.student.high) == pytest.approx([found.student.value] * 2)


def test_effects_of_both_are_told_apart_across_gaps():
    found = of(exact(STUDENT + TEACHER), GAPS)
    assert found.pairing.value == pytest.approx(0, abs=1e-9)
    assert found.student.value + found.teacher.value == pytest.approx(1)
    assert found.teacher.value > found.student.value > 0.1


def test_what_an_example_or_all_pairs_have_in_common_is_no_noise():
    difficulty_E = np.random.default_rng(0).random(5)
    assert shares(of(exact(np.zeros((3, 4)) + STUDENT) - difficulty_E)) == pytest.approx([1, 0, 0, 0], abs=1e-9)


def test_pairs_that_changed_alike_have_no_shares():
    assert of(exact(np.full((3, 4), -0.3))) is None


@pytest.mark.parametrize("name", ["seeds", "examples"])
def test_differences_by_chance_are_noise(name):
    rng = np.random.default_rng(1)
    shape = (3, 4, 3, 1) if name == "seeds" else (3, 4, 1, 50)
    tables = [np.broadcast_to(rng.standard_normal(shape), (3, 4, 3, 50)) for _ in range(50)]
    found = [of(table) for table in tables]
    assert np.mean([one.noise for one in found]) > 0.7
    assert np.mean([each.low < 1e-9 for one in found for each in (one.student, one.teacher, one.pairing)]) > 0.94
    of_one_seed = [of(table[:, :, :1]).noise for table in tables]
    assert of_one_seed == pytest.approx([0 if name == "seeds" else one.noise for one in found], abs=1e-9)


def simulated(rng: np.random.Generator, seed_sd: float, n: int = 100) -> np.ndarray:
    """Right or wrong answers of three seeds, in a grid with equal parts of the three effects."""
    parts = [one / one.std() for one in (STUDENT, TEACHER, PAIRING)]
    accuracy = 0.5 + 0.07 * sum(parts, start=np.zeros((3, 4)))
    after = rng.random((3, 4, 3, n)) < (accuracy[:, :, None] + seed_sd * rng.standard_normal((3, 4, 3)))[..., None]
    return after.astype(float) - 1


def test_noise_is_subtracted_from_every_part():
    rng = np.random.default_rng(2)
    tables = [simulated(rng, seed_sd=0.1) for _ in range(200)]
    means = np.array([table.mean(axis=(2, 3)) for table in tables])
    noise = (means - means.mean(axis=(1, 2), keepdims=True)).var(axis=0).mean()
    assert noise > 0.5 * 0.07**2
    found = [of(table) for table in tables]
    variances = np.mean([one.sd**2 * np.array(shares(one)) for one in found], axis=0)
    assert variances == pytest.approx([0.07**2] * 3 + [noise], rel=0.1)


def test_about_95_percent_of_the_intervals_contain_the_truth():
    rng = np.random.default_rng(3)
    found = [of(simulated(rng, seed_sd=0.02)) for _ in range(200)]
    true = 0.07**2 / np.mean([one.sd**2 for one in found])
    covered = [each.low <= true <= each.high for one in found for each in (one.student, one.teacher, one.pairing)]
    assert 0.9 < np.mean(covered) < 0.985


def test_more_examples_narrow_the_interval():
    few, many = (of(simulated(np.random.default_rng(4), seed_sd=0.0, n=n)).teacher for n in (50, 2000))
    assert (many.high - many.low) < 0.4 * (few.high - few.low)


def test_a_student_with_one_teacher_is_refused():
    with pytest.raises(ValueError, match="two teachers"):
        of(exact(STUDENT + TEACHER), {(0, 0), (0, 1), (0, 2)})


def test_one_seed_and_one_example_have_no_noise():
    assert of(exact(STUDENT + TEACHER, seeds=1, n=1)).noise == pytest.approx(0)
