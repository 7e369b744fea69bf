"""How much of the differences between pairs comes from the student, the teacher, their pairing, and noise.

A pair's change of score is a sum: the mean of all pairs, an effect of its student, an effect of its teacher, an effect
of the pairing (the interaction: what the two effects do not explain), and noise of its seeds and examples.

- The effects of students and teachers are those of a least-squares fit. The variance of a part is its covariance with
  the change over the pairs, so that the parts sum to the whole also in a grid with gaps (Pratt 1987). Without gaps it
  is the mean square of the part, as in a two-way analysis of variance. If no pair connects two blocks of the grid, the
  difference of the blocks is divided between student and teacher.
- Noise adds tr(Q V) to each part: V is the covariance matrix of the pairs' changes under noise, Q the quadratic form of
  the part. This is subtracted; the sum over the parts is the variance of the noise. V is the covariance over examples,
  which all pairs share, plus the variance over seeds beyond that of examples, pooled over the pairs.
- The 95 % intervals are a parametric bootstrap (Efron & Tibshirani 1993): noise of covariance V is added to the
  changes. These draws have noise twice, that of the study and their own, so that twice tr(Q V) is subtracted.

Students and teachers are taken as given: the shares are about these, not about others of their kind. Trainings of
different pairs are taken as independent, also of the same seed. With one seed the noise is that of examples only, and
with one example that of seeds only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluators.analysis.statistics import Interval

DRAWS = 2000


@dataclass(frozen=True, kw_only=True)
class GridVariance:
    """The standard deviation of the changes over the pairs, and the shares of their variance, which sum to 1."""

    sd: float
    student: Interval
    teacher: Interval
    pairing: Interval
    noise: float


def grid_variance(change_P_S_E: np.ndarray, student_P: Sequence[str], teacher_P: Sequence[str]) -> GridVariance | None:
    """The shares of the variance over the pairs; None where all pairs changed alike.

    `change_P_S_E` has the change of score of each pair, seed and example, on the same examples for all pairs.
    `student_P` and `teacher_P` name the pairs. Raises ValueError unless each student has two teachers and each teacher
    two students: the effect of a student with one teacher cannot be told from that of the pairing.
    """
    parts_3_P_P = _parts(student_P, teacher_P)
    change_P, covariance_P_P = change_P_S_E.mean(axis=(1, 2)), _covariance(change_P_S_E)
    observed_3 = _variances(parts_3_P_P, change_P)
    noise_3 = np.einsum("kpq,qp->k", parts_3_P_P, covariance_P_P)
    if observed_3.sum() + noise_3.sum() < 1e-12:
        return None
    rng = np.random.default_rng(0)
    draws_D_P = rng.multivariate_normal(change_P, covariance_P_P, size=DRAWS, method="eigh")
    drawn_3_D = _variances(parts_3_P_P, draws_D_P) - 2 * noise_3[:, None]
    share_3 = _shares(observed_3 - noise_3, noise_3.sum())
    bounds_3_2 = np.quantile(_shares(drawn_3_D, noise_3.sum()), (0.025, 0.975), axis=1).T
    student, teacher, pairing = (
        Interval(share, low, high) for share, (low, high) in zip(share_3.tolist(), bounds_3_2.tolist(), strict=True)
    )
    return GridVariance(
        sd=float(np.sqrt(observed_3.sum())),
        student=student,
        teacher=teacher,
        pairing=pairing,
        noise=float(1 - share_3.sum()),
    )


def _parts(student_P: Sequence[str], teacher_P: Sequence[str]) -> np.ndarray:
    """The quadratic forms of student, teacher and pairing: x' Q x is the variance of that part of the changes x."""
    is_student_P_S, is_teacher_P_T = _indicators(student_P), _indicators(teacher_P)
    if min(is_student_P_S.sum(axis=0).min(), is_teacher_P_T.sum(axis=0).min()) < 2:
        raise ValueError("each student of a grid must have two teachers, and each teacher two students")
    pairs = len(student_P)
    students = is_student_P_S.shape[1]
    fit = np.linalg.pinv(np.hstack([is_student_P_S, is_teacher_P_T]))  # (students and teachers, pairs)
    student_P_P, teacher_P_P = is_student_P_S @ fit[:students], is_teacher_P_T @ fit[students:]
    parts = (student_P_P, teacher_P_P, np.eye(pairs) - student_P_P - teacher_P_P)
    centred = [part - part.mean(axis=0) for part in parts]
    return np.stack([(part + part.T) / (2 * pairs) for part in centred])


def _indicators(name_P: Sequence[str]) -> np.ndarray:
    return (np.array(name_P)[:, None] == np.unique(name_P)).astype(float)


def _variances(parts_3_P_P: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Of each part, for values (pairs) or (draws, pairs): shape (3) or (3, draws)."""
    return np.stack([((values @ part_P_P) * values).sum(axis=-1) for part_P_P in parts_3_P_P])


def _shares(variances: np.ndarray, noise: float) -> np.ndarray:
    """Of variances (3) or (3, draws); a negative estimate counts as 0."""
    counted = np.maximum(variances, 0)
    return counted / (counted.sum(axis=0) + noise)


def _covariance(change_P_S_E: np.ndarray) -> np.ndarray:
    """The covariance matrix of the pairs' mean changes under noise.

    In each pair, seeds by examples is a two-way layout with random effects, as in `statistics.paired_change`: the
    variance over seeds counts as far as it exceeds that of residuals.
    """
    pairs, seeds, n = change_P_S_E.shape
    mean_P_1_1 = change_P_S_E.mean(axis=(1, 2), keepdims=True)
    by_example_P_1_E = change_P_S_E.mean(axis=1, keepdims=True) - mean_P_1_1
    covariance_P_P = by_example_P_1_E[:, 0] @ by_example_P_1_E[:, 0].T / (n * max(n - 1, 1))
    if seeds == 1:
        return covariance_P_P
    by_seed_P_S_1 = change_P_S_E.mean(axis=2, keepdims=True) - mean_P_1_1
    rest_P_S_E = change_P_S_E - mean_P_1_1 - by_example_P_1_E - by_seed_P_S_1
    between, rest = (by_seed_P_S_1**2).sum(), (rest_P_S_E**2).sum() / (n * max(n - 1, 1))
    return covariance_P_P + np.eye(pairs) * max(between - rest, 0) / (pairs * seeds * (seeds - 1))
