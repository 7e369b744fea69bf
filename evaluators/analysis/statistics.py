"""Paired statistics: changes in score, their confidence intervals and p-values, and the minimum detectable effect.

Scores are in [0, 1], in arrays of shape (examples,) or (seeds, examples): one value for each training seed and example,
the mean of the example's samples where there are several. docs/statistics.md gives the reasons for these methods and
their measured coverage.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import numpy as np

from evaluators.imports import IMPORTS

# scipy is imported where it is used: planning a study imports this module and needs no scipy.

MAX_DENOMINATOR = 1000  # of scores as fractions: samples times seeds times parts of a verdict


@dataclass(frozen=True)
class Interval:
    """An estimate with its two-sided 95 % interval."""

    value: float
    low: float
    high: float


def paired_change(before_E: np.ndarray, after_S_E: np.ndarray) -> Interval:
    """The mean change from `before` (examples) to `after` (seeds, examples), on the same examples.

    A paired bootstrap over examples; all seeds and samples of an example stay together. Two pseudo-examples are added:
    a gain and a loss as large as the largest observed one (Bonett & Price 2012), or of 1 where nothing changed, so
    that the interval always has a width. Two or more seeds widen it by their variance beyond chance, and so cover
    newly trained students; with one seed it covers that one trained student only. Raises ValueError where shapes do not
    match or scores are not in [0, 1].
    """
    return paired_difference(after_S_E, before_E[None])


def paired_difference(first_S_E: np.ndarray, second_S_E: np.ndarray) -> Interval:
    """The mean of first minus second on the same examples, by the method of `paired_change`.

    Both have shape (seeds, examples); a model that was not trained has a single row. Seeds are paired, as two points of
    one trial are; for unrelated trainings the variance of the differences is still that of both. Raises ValueError like
    `paired_change`, and where numbers of seeds do not match.
    """
    _check_pair(first_S_E, second_S_E)
    change_S_E = first_S_E - second_S_E
    largest = float(np.abs(change_S_E.mean(axis=0)).round(9).max()) or 1.0
    return _interval(change_S_E, [-largest, largest], least=-1.0)


def gap_closed(before_S_E: np.ndarray, after_S_E: np.ndarray, target_E: np.ndarray) -> Interval:
    """The share of the gap between `before` and `target` that `after` closes, on the same examples: the mean of after
    minus before, divided by the mean of target minus before.

    `before` and `after` have shape (seeds, examples), seeds are paired; `target` is a model that was not trained. The
    interval is that of the mean of after - before - share * (target - before), by the method of `paired_difference`,
    divided by the gap: the usual linear approximation of a ratio, which needs a gap that is clearly not 0. Raises
    ValueError like `paired_difference`, and for a gap of 0.
    """
    _check_pair(after_S_E, before_S_E)
    _check_pair(before_S_E, target_E[None])
    gap_S_E = target_E - before_S_E
    gap = gap_S_E.mean()
    if not gap:
        raise ValueError("there is no gap between the scores before and the target")
    share = (after_S_E - before_S_E).mean() / gap
    rest_S_E = after_S_E - before_S_E - share * gap_S_E
    largest = float(np.abs(rest_S_E.mean(axis=0)).max()) or 1.0
    rest = _interval(rest_S_E, [-largest, largest], least=-math.inf)
    ends = sorted((rest.low / gap, rest.high / gap))
    return Interval(float(share), float(share + ends[0]), float(share + ends[1]))


def difference(first: Interval, second: Interval) -> Interval:
    """First minus second of two independent estimates, each with its interval.

    The square-and-add interval (Newcombe 1998; MOVER in Zou & Donner 2008), which keeps the asymmetry of the two. For
    positively correlated estimates the interval is too wide, never too narrow.
    """
    value = first.value - second.value
    return Interval(
        value,
        value - math.hypot(first.value - first.low, second.high - second.value),
        value + math.hypot(first.high - first.value, second.value - second.low),
    )


def mean_score(scores_S_E: np.ndarray) -> Interval:
    """The mean over seeds and examples; like `paired_change`, with two pseudo-failures and two pseudo-successes
    (Agresti & Coull 1998)."""
    _check(scores_S_E)
    return _interval(scores_S_E, [0.0, 0.0, 1.0, 1.0], least=0.0)


def mean_of_seeds(values_S: Sequence[float]) -> Interval:
    """The mean of one number for each seed, with the t interval of new seeds; of a single seed the number alone."""
    n, mean = len(values_S), float(np.mean(values_S))
    if n == 1:
        return Interval(mean, mean, mean)
    with IMPORTS:
        from scipy.special import stdtrit

    error = float(stdtrit(n - 1, 0.975) * np.std(values_S, ddof=1) / math.sqrt(n))
    return Interval(mean, mean - error, mean + error)


def ratio(sums_E: np.ndarray, weights_E: np.ndarray) -> Interval:
    """The sum of all sums over the sum of all weights, as a mean per token over completions of different length.

    The large-sample interval of a ratio of two means (Cochran 1977, section 2.11), in which an example's tokens vary
    together.
    """
    value = sums_E.sum() / weights_E.sum()
    spread = sums_E - value * weights_E
    n = len(sums_E)
    error = np.sqrt((spread**2).sum() * n / max(n - 1, 1)) / weights_E.sum()
    return Interval(float(value), float(value - 1.96 * error), float(value + 1.96 * error))


def mcnemar(before_E: np.ndarray, after_S_E: np.ndarray) -> float:
    """Two-sided p-value of no change in these trained students, from before (examples) to after (seeds, examples).

    The exact sign-flip test of the examples' mean changes: under the null hypothesis the sign of each example's change,
    averaged over its seeds and samples, is random. For one seed and scores of 0 or 1 it is McNemar's exact test. It is
    about these trained students; the interval of `paired_change` is about newly trained ones. Where the scores have no
    common denominator up to MAX_DENOMINATOR, 9,999 random flips replace the exact distribution. Raises ValueError like
    `paired_change`.
    """
    _check_pair(after_S_E, before_E[None])
    with IMPORTS:
        from scipy import stats

    change_E = after_S_E.mean(axis=0) - before_E
    whole_E, denominator = _whole(change_E)
    if not np.allclose(whole_E / denominator, change_E, rtol=0, atol=1e-9):
        flipped = stats.permutation_test(
            (change_E,), np.mean, permutation_type="samples", vectorized=True, batch=500, rng=np.random.default_rng(0)
        )
        return float(flipped.pvalue)
    # The distribution of the sum of all gains. Only positive terms are added, so that small p-values stay exact.
    chance: np.ndarray = np.ones(1)
    for size, times in zip(*np.unique(np.abs(whole_E[whole_E != 0]), return_counts=True), strict=True):
        steps = np.zeros(size * times + 1)
        steps[::size] = stats.binom.pmf(np.arange(times + 1), times, 0.5)
        chance = np.convolve(chance, steps)
    gains, losses = whole_E[whole_E > 0].sum(), -whole_E[whole_E < 0].sum()
    return float(min(1.0, 2 * chance[max(gains, losses) :].sum()))


def corrected(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values by Benjamini & Hochberg (1995), which control the false discovery rate: of those at or below
    0.05, at most 5 % are expected to be false. NaN stays NaN and does not count as a comparison."""
    with IMPORTS:
        from scipy import stats

    out = np.array(p_values, dtype=float)
    known = ~np.isnan(out)
    out[known] = stats.false_discovery_control(out[known])
    return out.tolist()


@cache
def smallest_effect(n: int, discordant: float | None = None, power: float = 0.8, alpha: float = 0.05) -> float:
    """The minimum detectable effect: the smallest change in accuracy that McNemar's exact test detects with this power
    on `n` examples with one seed.

    `discordant`: the share of examples whose verdict changes in either direction; with None all changes have the same
    direction, which is the best case. NaN where no effect reaches this power. The computation is exact. Raises
    ValueError for n < 1 or a share outside (0, 1].
    """
    if n < 1 or not (discordant is None or 0 < discordant <= 1):
        raise ValueError(f"n is {n} and discordant {discordant}; they must be at least 1, and in (0, 1] or None")
    with IMPORTS:
        from scipy import optimize, stats

    changed = np.arange(n + 1)
    # At most `few` losses, or at most `few` gains, among this many changes are significant.
    few = stats.binom.ppf(alpha / 2, changed, 0.5)
    few -= stats.binom.cdf(few, changed, 0.5) > alpha / 2

    def lacks(effect: float) -> float:
        share = effect if discordant is None else discordant
        gain = min(1.0, (share + effect) / (2 * share))
        found = stats.binom.cdf(few, changed, gain) + stats.binom.cdf(few, changed, 1 - gain)
        return float(stats.binom.pmf(changed, n, share) @ found) - power

    largest = 1.0 if discordant is None else discordant
    return float(optimize.brentq(lacks, 1e-9, largest)) if lacks(largest) >= 0 else math.nan


def _check_pair(first_S_E: np.ndarray, second_S_E: np.ndarray) -> None:
    _check(first_S_E)
    _check(second_S_E)
    if first_S_E.shape[1] != second_S_E.shape[1] or len({len(first_S_E), len(second_S_E)} - {1}) > 1:
        raise ValueError(f"scores of shapes {first_S_E.shape} and {second_S_E.shape} do not pair")


def _check(scores_S_E: np.ndarray) -> None:
    if scores_S_E.ndim != 2 or scores_S_E.size == 0:
        raise ValueError(f"scores must be of some seeds and examples, not of shape {scores_S_E.shape}")
    if not ((scores_S_E >= 0) & (scores_S_E <= 1)).all():
        raise ValueError("scores must be numbers from 0 to 1")


def _interval(values_S_E: np.ndarray, pseudo_examples: list[float], least: float) -> Interval:
    padded_S_N = np.hstack([values_S_E, np.tile(pseudo_examples, (len(values_S_E), 1))])
    centre = padded_S_N.mean()
    low, high = _bootstrap(padded_S_N.mean(axis=0))
    stretch = _stretch(padded_S_N)
    low, high = centre + stretch * (low - centre), centre + stretch * (high - centre)
    return Interval(float(values_S_E.mean()), max(float(low), least), min(float(high), 1.0))


def _bootstrap(values_N: np.ndarray) -> tuple[float, float]:
    """The exact 2.5 % and 97.5 % quantiles of the mean of N draws with replacement, without simulation.

    The distribution of the sum of N draws is the N-fold convolution of one draw's, which is a power in Fourier space.
    """
    with IMPORTS:
        from scipy import fft

    whole_N, denominator = _whole(values_N)
    n, first = len(whole_N), whole_N.min()
    one = np.bincount(whole_N - first) / n
    last = n * (len(one) - 1)
    size = fft.next_fast_len(last + 1, real=True)
    chance = np.maximum(fft.irfft(fft.rfft(one, size) ** n, size)[: last + 1], 0)
    low = np.searchsorted(np.cumsum(chance), 0.025)
    high = last - np.searchsorted(np.cumsum(chance[::-1]), 0.025)
    return (low / n + first) / denominator, (high / n + first) / denominator


def _stretch(values_S_N: np.ndarray) -> float:
    """The factor by which few examples, and the variance over seeds, widen an interval over examples; at least 1.

    Seeds by examples is a two-way layout with random effects: the variance of the mean is (mean square of examples +
    that of seeds - that of residuals) / (seeds * examples), with Satterthwaite's (1946) degrees of freedom. A variance
    over seeds below its expectation by chance does not narrow the interval.
    """
    with IMPORTS:
        from scipy.special import stdtrit

    seeds, n = values_S_N.shape
    mean = values_S_N.mean()
    by_seed_S, by_example_N = values_S_N.mean(axis=1) - mean, values_S_N.mean(axis=0) - mean
    examples = seeds * (by_example_N @ by_example_N) / (n - 1)
    total, freedom = examples, float(n - 1)
    if seeds > 1:
        between = n * (by_seed_S @ by_seed_S) / (seeds - 1)
        rest_S_N = values_S_N - mean - by_seed_S[:, None] - by_example_N
        rest = (rest_S_N**2).sum() / ((seeds - 1) * (n - 1))
        if between > rest:
            total = examples + between - rest
            spread = between**2 / (seeds - 1) + examples**2 / (n - 1) + rest**2 / ((seeds - 1) * (n - 1))
            freedom = max(total**2 / spread, seeds - 1.0)
    return float(math.sqrt(total / examples) * stdtrit(freedom, 0.975) / stdtrit(math.inf, 0.975))


def _whole(values: np.ndarray) -> tuple[np.ndarray, int]:
    """The values as integer multiples of 1 / denominator; rounded where MAX_DENOMINATOR is too small."""
    denominators = {
        Fraction(v).limit_denominator(MAX_DENOMINATOR).denominator for v in np.unique(values.round(9)).tolist()
    }
    denominator = min(math.lcm(*denominators), MAX_DENOMINATOR)
    return np.rint(values * denominator).astype(int), denominator
