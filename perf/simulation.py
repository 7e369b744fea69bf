"""Simulated studies whose true values are known, to check how often the intervals of `evaluators.analysis.statistics`
contain them.

The probability of a correct answer is logistic in four terms: the difficulty of the example (normal), the mean effect
of training, the effect on this example (normal), and the effect of this training run on all examples (normal). The true
value is the mean over all possible examples and training runs. With one seed it is the mean over all possible examples
for that one trained student. True values are integrated, not simulated.

Suffixes: E examples, S seeds.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

from evaluators.analysis.statistics import Interval, difference, gap_closed, paired_change, paired_difference

NORMAL = np.linspace(-9, 9, 20_001)
WEIGHTS = np.exp(-(NORMAL**2) / 2) / np.exp(-(NORMAL**2) / 2).sum()


@dataclass(frozen=True)
class Design:
    """The design of a study. `base` is the accuracy before training, `change` what training adds to it.

    `difficulty`, `uneven` and `between_seeds` are standard deviations on the logistic scale: of examples, of the effect
    of training on one example, and of training runs (0.15 is about 2 points of accuracy).
    """

    name: str  # also seeds the simulation
    examples: int = 200
    seeds: int = 3
    samples: int = 1
    base: float = 0.7
    change: float = -0.2
    difficulty: float = 2.0
    uneven: float = 1.0
    between_seeds: float = 0.15


def simulate(design: Design, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float]:
    """Scores before training (E) and after it (S, E), and the true accuracy after it."""
    d = design
    ease_E = rng.normal(0, d.difficulty, d.examples)
    effect_E = rng.normal(0, d.uneven, d.examples)
    run_S = rng.normal(0, d.between_seeds, d.seeds)
    chance_E = expit(_shift(d.base, d.difficulty) + ease_E)
    chance_S_E, truth = _train(d, ease_E, effect_E, run_S)
    before_E, after_S_E = (rng.binomial(d.samples, chance) / d.samples for chance in (chance_E, chance_S_E))
    return before_E, after_S_E, truth


def simulate_two(first: Design, second: Design, rng: np.random.Generator) -> tuple[Interval, float]:
    """Two kinds of training on the same examples: their difference, estimated and true."""
    ease_E = rng.normal(0, first.difficulty, first.examples)
    (one_S_E, one), (other_S_E, other) = (_trained(d, ease_E, rng) for d in (first, second))
    return paired_difference(one_S_E, other_S_E), one - other


def simulate_gap(first: Design, second: Design, rng: np.random.Generator) -> tuple[Interval, float]:
    """Two kinds of training on the same examples: the share of the harm of the first that the second does not do,
    estimated and true."""
    ease_E = rng.normal(0, first.difficulty, first.examples)
    target_E = rng.binomial(first.samples, expit(_shift(first.base, first.difficulty) + ease_E)) / first.samples
    (before_S_E, before), (after_S_E, after) = (_trained(d, ease_E, rng) for d in (first, second))
    return gap_closed(before_S_E, after_S_E, target_E), (after - before) / (first.base - before)


def simulate_parts(first: Design, second: Design, rng: np.random.Generator) -> tuple[Interval, float]:
    """One kind of training on two parts of a benchmark: how much more the first changes, estimated and true."""
    run_S = rng.normal(0, first.between_seeds, first.seeds)  # The same students answer both parts.
    changes, truths = [], []
    for d in (first, second):
        ease_E, effect_E = rng.normal(0, d.difficulty, d.examples), rng.normal(0, d.uneven, d.examples)
        chance_S_E, truth = _train(d, ease_E, effect_E, run_S)
        before_E = rng.binomial(d.samples, expit(_shift(d.base, d.difficulty) + ease_E)) / d.samples
        changes.append(paired_change(before_E, rng.binomial(d.samples, chance_S_E) / d.samples))
        truths.append(truth - d.base)
    return difference(*changes), truths[0] - truths[1]


def _trained(d: Design, ease_E: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Scores after a training of its own (S, E), and the true accuracy."""
    effect_E, run_S = rng.normal(0, d.uneven, d.examples), rng.normal(0, d.between_seeds, d.seeds)
    chance_S_E, truth = _train(d, ease_E, effect_E, run_S)
    return rng.binomial(d.samples, chance_S_E) / d.samples, truth


def _train(d: Design, ease_E: np.ndarray, effect_E: np.ndarray, run_S: np.ndarray) -> tuple[np.ndarray, float]:
    """The probabilities of correct answers after training (S, E), and the true accuracy."""
    by_example = np.hypot(d.difficulty, d.uneven)
    after = _shift(d.base + d.change, np.hypot(by_example, d.between_seeds))
    chance_S_E = expit(after + ease_E + effect_E + run_S[:, None])
    return chance_S_E, _accuracy(after + run_S[0], by_example) if d.seeds == 1 else d.base + d.change


def _accuracy(shift: float, spread: float) -> float:
    """The mean of expit(shift + spread * z) over a standard normal z."""
    return float(expit(shift + spread * NORMAL) @ WEIGHTS)


@cache
def _shift(mean: float, spread: float) -> float:
    """The shift with which `_accuracy` is `mean`."""
    return float(brentq(lambda shift: _accuracy(shift, spread) - mean, -100, 100))
