"""Paired statistics: what a change in score is, and how sure one can be of it."""

from dataclasses import dataclass
from functools import cache

import numpy as np

RESAMPLES = 10_000


@dataclass(frozen=True)
class Interval:
    """An estimate with its two-sided 95 % interval."""

    value: float
    low: float
    high: float


def paired_change(before_E: np.ndarray, after_S_E: np.ndarray, seed: int = 0) -> Interval:
    """The mean change from `before` (examples) to `after` (seeds, examples), with a bootstrap interval.

    Each resample draws examples and, independently, training seeds, both with replacement: examples are shared by all
    seeds and by the original student, so they are drawn once for all (a crossed bootstrap, percentile interval). With
    few seeds it is the spread over examples that it mostly sees.
    """
    return _crossed(after_S_E - before_E[None, :], seed)


def mean_score(scores_S_E: np.ndarray, seed: int = 0) -> Interval:
    """A mean over seeds and examples, with the same bootstrap."""
    return _crossed(scores_S_E, seed)


def _crossed(values_S_E: np.ndarray, seed: int) -> Interval:
    seeds, examples = values_S_E.shape
    by_seed_R_S = _draws(examples, seed) @ values_S_E.T
    means_R = (by_seed_R_S * _draws(seeds, seed + 1)).sum(axis=1) / (examples * seeds)
    low, high = np.quantile(means_R, [0.025, 0.975])
    return Interval(float(values_S_E.mean()), float(low), float(high))


@cache
def _draws(size: int, seed: int) -> np.ndarray:
    """How often each of `size` things is drawn, in each of the resamples; shape (resamples, size)."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(size, np.full(size, 1 / size), size=RESAMPLES).astype(float)
