"""The recovery budget: the budget at which the recovered share of the base student's score reaches a threshold.

For each training seed, the shares at the measured budgets are made non-decreasing (isotonic regression by pooling
adjacent violators: Ayer et al. 1955). The budget at the threshold is interpolated linearly on the axis
log(1 + budget), which includes budget 0. The estimate is the median over seeds.

The 95 % interval is a percentile bootstrap (Efron 1979). Each draw resamples seeds and examples; an example keeps its
scores of the base student and of all seeds and budgets together, since all of them are of the same example.

Assumptions: a larger budget is not worse; between two measured budgets the share is linear on this axis, so that the
estimate is no finer than the budgets. Budgets that a search selected are treated as if they were fixed beforehand. With
2 or 3 seeds the interval is hardly wider than the range of the seeds; with one seed it is about that trained student.
A base student with a score of 0 has nothing to restore, so there is no budget; draws in which it has 0 do not count.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

DRAWS = 2000


@dataclass(frozen=True)
class Budget:
    """A budget; with `is_lower_bound` it is larger than this value, which is the largest that was measured."""

    value: float
    is_lower_bound: bool

    def __str__(self) -> str:
        shown = f"{self.value:,.0f}" if self.value >= 100 else f"{self.value:.3g}"
        return f"> {shown}" if self.is_lower_bound else shown


@dataclass(frozen=True)
class Bracket:
    """One seed's largest budget below the threshold and smallest budget that reaches it; None where there is none."""

    below: int | None
    reaches: int | None


@dataclass(frozen=True)
class RecoveryBudget:
    """The estimate over all seeds, its 95 % interval, and each seed's bracket. 0: budget 0 reaches the threshold."""

    value: Budget
    low: Budget
    high: Budget
    brackets: list[Bracket]


@dataclass(frozen=True)
class _Curve:
    """One seed: its budgets in ascending order, and the scores of the distinct examples at each of them."""

    budgets: list[int]
    scores_K_B: np.ndarray


def recovery_budget(
    base_E: np.ndarray, scores_by_seed: Sequence[Mapping[int, np.ndarray]], threshold: float
) -> RecoveryBudget | None:
    """The budget at which the mean score reaches `threshold` times the base student's mean score; None if that is 0.

    `base_E` has the base student's score of each example. `scores_by_seed` maps, for each seed, every measured budget
    to the scores of the same examples. Raises ValueError where budget 0 is missing or numbers of examples differ.
    """
    for scores in scores_by_seed:
        if 0 not in scores or any(after_E.shape != base_E.shape for after_E in scores.values()):
            raise ValueError(
                "each seed must be measured at budget 0, and at all budgets on the base student's examples"
            )
    if not base_E.any():
        return None
    base_K, curves, counts_K = _distinct_examples(base_E, scores_by_seed)

    def bounds(weights_D_K: np.ndarray) -> np.ndarray:
        """Shape (lower and upper bound, seeds, draws)."""
        return np.stack([_interpolated(curve, _shares(base_K, curve, weights_D_K), threshold) for curve in curves], 1)

    unweighted_1_K = counts_K[None].astype(float)
    rng = np.random.default_rng(0)
    weights_D_K = rng.multinomial(len(base_E), counts_K / len(base_E), size=DRAWS).astype(float)
    seeds_S_D = rng.integers(len(curves), size=(len(curves), DRAWS))
    has_score_D = weights_D_K @ base_K > 0
    drawn_2_S_D = np.take_along_axis(bounds(weights_D_K[has_score_D]), seeds_S_D[None, :, has_score_D], axis=1)
    low_2, high_2 = np.quantile(np.median(drawn_2_S_D, axis=1), (0.025, 0.975), axis=1, method="inverted_cdf")
    return RecoveryBudget(
        _budget(np.median(bounds(unweighted_1_K), axis=1)[:, 0]),
        _budget(low_2),
        _budget(high_2),
        [_bracket(curve, _shares(base_K, curve, unweighted_1_K)[0], threshold) for curve in curves],
    )


def is_recovered(share: Any, threshold: float) -> Any:
    """Whether a share, or each share of an array, reaches the threshold, up to floating-point rounding."""
    return share >= threshold - 1e-9


def _distinct_examples(
    base_E: np.ndarray, scores_by_seed: Sequence[Mapping[int, np.ndarray]]
) -> tuple[np.ndarray, list[_Curve], np.ndarray]:
    """Merge examples with equal scores everywhere: the base scores, the curves, and the number of examples of each."""
    columns_E_C = np.column_stack([base_E, *(scores[budget] for scores in scores_by_seed for budget in sorted(scores))])
    distinct_K_C, counts_K = np.unique(columns_E_C, axis=0, return_counts=True)
    columns = iter(distinct_K_C.T)
    base_K = next(columns)
    curves = [_Curve(sorted(scores), np.stack([next(columns) for _ in scores], axis=1)) for scores in scores_by_seed]
    return base_K, curves, counts_K


def _shares(base_K: np.ndarray, curve: _Curve, weights_D_K: np.ndarray) -> np.ndarray:
    """Recovered shares of shape (draws, budgets), made non-decreasing."""
    return _isotonic((weights_D_K @ curve.scores_K_B) / (weights_D_K @ base_K)[:, None])


def _isotonic(values_D_B: np.ndarray) -> np.ndarray:
    """The least-squares non-decreasing fit of each row, by the max-min formula.

    At place b it is the maximum over starts a <= b of the minimum over ends c >= b of the mean of values a..c.
    """
    sums_D_B = np.concatenate([np.zeros((len(values_D_B), 1)), values_D_B.cumsum(axis=1)], axis=1)
    n = values_D_B.shape[1]
    fit_D_B = np.full_like(values_D_B, -np.inf)
    for start in range(n):
        means = (sums_D_B[:, start + 1 :] - sums_D_B[:, start, None]) / np.arange(1, n - start + 1)
        least = np.minimum.accumulate(means[:, ::-1], axis=1)[:, ::-1]
        fit_D_B[:, start:] = np.maximum(fit_D_B[:, start:], least)
    return fit_D_B


def _interpolated(curve: _Curve, shares_D_B: np.ndarray, threshold: float) -> np.ndarray:
    """The lower and the upper bound of log(1 + budget) at the threshold, of shape (2, draws).

    They are equal, except where no budget reaches the threshold: then the upper bound is infinite.
    """
    log_budget_B = np.log1p(curve.budgets)
    recovered_D_B = is_recovered(shares_D_B, threshold)
    right_D = recovered_D_B.argmax(axis=1)
    left_D = np.maximum(right_D - 1, 0)
    rows = np.arange(len(shares_D_B))
    rise_D = shares_D_B[rows, right_D] - shares_D_B[rows, left_D]
    missing_D = threshold - shares_D_B[rows, left_D]
    part_D = np.clip(np.divide(missing_D, rise_D, out=np.zeros_like(missing_D), where=rise_D > 0), 0, 1)
    at_D = log_budget_B[left_D] + part_D * (log_budget_B[right_D] - log_budget_B[left_D])
    never_D = ~recovered_D_B.any(axis=1)
    return np.stack([np.where(never_D, log_budget_B[-1], at_D), np.where(never_D, np.inf, at_D)])


def _budget(bounds_2: np.ndarray) -> Budget:
    return Budget(float(np.expm1(bounds_2[0])), bool(np.isinf(bounds_2[1])))


def _bracket(curve: _Curve, shares_B: np.ndarray, threshold: float) -> Bracket:
    recovered = dict(zip(curve.budgets, is_recovered(shares_B, threshold), strict=True))
    return Bracket(
        max((budget for budget, reaches in recovered.items() if not reaches), default=None),
        min((budget for budget, reaches in recovered.items() if reaches), default=None),
    )
