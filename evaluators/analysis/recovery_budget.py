"""The budget at which a student is back: where the recovered share of its original score reaches what is enough.

For each training seed the shares at its measured budgets are made to rise with the budget (isotonic regression, pooling
adjacent violators: Ayer et al. 1955), and the line between the two budgets around the crossing is read off on a
logarithmic axis, log(1 + budget), so that budget 0 has a place too. Over seeds it is the median.

The 95 % interval is a percentile bootstrap (Efron 1979): each draw takes seeds and examples with replacement, an
example with its answers of all seeds and budgets and of the original student, since all of them answer the same ones.

What it assumes: more of a recovery is not worse; between two budgets the share follows the line, so that the estimate
is no finer than the budgets that were measured. Where a search has chosen these, they are taken as if they had been
chosen beforehand. Few seeds are drawn with few different outcomes: with 2 or 3 of them the interval is hardly wider
than from the lowest to the highest, and with one it is about that one trained student.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

DRAWS = 2000


@dataclass(frozen=True)
class Budget:
    """A budget, or, with `beyond`, that it is above this one: no more was measured that could tell."""

    value: float
    beyond: bool

    def __str__(self) -> str:
        shown = f"{self.value:,.0f}" if self.value >= 100 else f"{self.value:.3g}"
        return f"> {shown}" if self.beyond else shown


@dataclass(frozen=True)
class Bracket:
    """The largest budget that fell short, and the smallest that was enough; None where there is none."""

    short: int | None
    reached: int | None


@dataclass(frozen=True)
class RecoveryBudget:
    """The budget that is enough, over all seeds, its 95 % interval, and the bracket of each seed. 0: what was lost, if
    anything, is less than what counts."""

    value: Budget
    low: Budget
    high: Budget
    brackets: list[Bracket]


def recovery_budget(before_E: np.ndarray, walks: Sequence[Mapping[int, np.ndarray]], enough: float) -> RecoveryBudget:
    """Where the share of the original student's mean score reaches `enough`.

    `walks` has, for each seed, the scores (examples) after each budget that it was measured at, 0 among them. Raises
    ValueError for walks without it, and for scores that do not pair.
    """
    for walk in walks:
        if 0 not in walk or any(after_E.shape != before_E.shape for after_E in walk.values()):
            raise ValueError("each seed must be measured at budget 0, and all of it on the original student's examples")
    n, seeds = len(before_E), len(walks)
    all_E_C = np.column_stack([before_E, *(walk[budget] for walk in walks for budget in sorted(walk))])
    kinds_K_C, of_kind_K = np.unique(all_E_C, axis=0, return_counts=True)  # of examples that are alike: much fewer
    columns = iter(kinds_K_C.T)
    before_K, walks = next(columns), [{budget: next(columns) for budget in sorted(walk)} for walk in walks]

    once_1_K = of_kind_K[None].astype(float)
    value_2_1 = _over_seeds(np.stack([_crossings(before_K, walk, enough, once_1_K) for walk in walks], axis=1))
    rng = np.random.default_rng(0)
    draws_D_K = rng.multinomial(n, of_kind_K / n, size=DRAWS).astype(float)
    chosen_S_D = rng.integers(seeds, size=(seeds, DRAWS))
    drawn_2_S_D = np.stack([_crossings(before_K, walk, enough, draws_D_K) for walk in walks], axis=1)
    medians_2_D = _over_seeds(np.take_along_axis(drawn_2_S_D, chosen_S_D[None], axis=1))
    low_2, high_2 = np.quantile(medians_2_D, (0.025, 0.975), axis=1, method="inverted_cdf")
    brackets = [_bracket(walk, _shares(before_K, walk, once_1_K)[0], enough) for walk in walks]
    return RecoveryBudget(_budget(value_2_1[:, 0]), _budget(low_2), _budget(high_2), brackets)


def is_recovered(share: Any, enough: float) -> Any:
    """Whether a share, or each of an array, is as large as it is to be: means of the same scores may differ in their
    last bits."""
    return share >= enough - 1e-9


def _shares(before_K: np.ndarray, walk: Mapping[int, np.ndarray], weights_D_K: np.ndarray) -> np.ndarray:
    """The recovered share at each budget, upwards, made to rise; of an original student without any score all of it."""
    before_D = weights_D_K @ before_K
    after_D_B = weights_D_K @ np.stack([walk[budget] for budget in sorted(walk)], axis=1)
    shares_D_B = np.divide(after_D_B, before_D[:, None], out=np.ones_like(after_D_B), where=before_D[:, None] > 0)
    return _rising(shares_D_B)


def _rising(values_D_B: np.ndarray) -> np.ndarray:
    """The nearest values that never fall: at each place the largest, over where a run begins up to there, of the least
    mean of such a run that ends there or later."""
    sums_D_B = np.concatenate([np.zeros((len(values_D_B), 1)), values_D_B.cumsum(axis=1)], axis=1)
    n = values_D_B.shape[1]
    risen_D_B = np.full_like(values_D_B, -np.inf)
    for begin in range(n):
        means = (sums_D_B[:, begin + 1 :] - sums_D_B[:, begin, None]) / np.arange(1, n - begin + 1)
        least = np.minimum.accumulate(means[:, ::-1], axis=1)[:, ::-1]
        risen_D_B[:, begin:] = np.maximum(risen_D_B[:, begin:], least)
    return risen_D_B


def _crossings(
    before_K: np.ndarray, walk: Mapping[int, np.ndarray], enough: float, weights_D_K: np.ndarray
) -> np.ndarray:
    """For each weighting of the examples the lower and the upper bound of log(1 + budget) at the crossing: the same,
    but where no measured budget is enough, and the upper bound is infinite."""
    shares_D_B = _shares(before_K, walk, weights_D_K)
    at_B = np.log1p(sorted(walk))
    is_enough_D_B = is_recovered(shares_D_B, enough)
    reached_D = is_enough_D_B.argmax(axis=1)
    short_D = np.maximum(reached_D - 1, 0)
    rows = np.arange(len(shares_D_B))
    rise_D = shares_D_B[rows, reached_D] - shares_D_B[rows, short_D]
    gap_D = enough - shares_D_B[rows, short_D]
    part_D = np.clip(np.divide(gap_D, rise_D, out=np.zeros_like(gap_D), where=rise_D > 0), 0, 1)
    crossed_D = at_B[short_D] + part_D * (at_B[reached_D] - at_B[short_D])
    never_D = ~is_enough_D_B.any(axis=1)
    return np.stack([np.where(never_D, at_B[-1], crossed_D), np.where(never_D, np.inf, crossed_D)])


def _over_seeds(bounds_2_S_D: np.ndarray) -> np.ndarray:
    return np.median(bounds_2_S_D, axis=1)


def _budget(bounds_2: np.ndarray) -> Budget:
    return Budget(float(np.expm1(bounds_2[0])), bool(np.isinf(bounds_2[1])))


def _bracket(walk: Mapping[int, np.ndarray], shares_B: np.ndarray, enough: float) -> Bracket:
    reached_B = is_recovered(shares_B, enough)
    short = [budget for budget, reached in zip(sorted(walk), reached_B, strict=True) if not reached]
    enoughs = [budget for budget, reached in zip(sorted(walk), reached_B, strict=True) if reached]
    return Bracket(short[-1] if short else None, enoughs[0] if enoughs else None)
