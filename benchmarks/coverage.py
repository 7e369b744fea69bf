"""How often the 95 % intervals hold the truth: 2,000 simulated studies of each design.

    python -m benchmarks.coverage [studies]

An example's chance of a right answer is logistic in its difficulty (normal), in what training does to all examples, to
this one (normal) and, in this training run, to all (normal). The truth is the mean over all examples and training runs
there could be or, with one seed, over all examples for that trained student; it is integrated, not simulated. A study
misses below where the whole interval lies below the truth.
"""

import sys
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

from evaluators.statistics import Interval, mean_score, paired_change

NORMAL = np.linspace(-9, 9, 20_001)
WEIGHTS = np.exp(-(NORMAL**2) / 2) / np.exp(-(NORMAL**2) / 2).sum()


@dataclass(frozen=True)
class Design:
    """What is studied. `difficulty`, `uneven` and `between_seeds` are standard deviations on the logistic scale: of
    examples, of what training does to one, and of training runs (0.15 is about 2 points of accuracy)."""

    name: str  # also seeds the simulation
    examples: int = 200
    seeds: int = 3
    samples: int = 1
    original: float = 0.7
    change: float = -0.2
    difficulty: float = 2.0
    uneven: float = 1.0
    between_seeds: float = 0.15


USUAL = [
    Design("usual: 200 examples, 3 seeds, 0.70 - 0.20"),
    Design("1 seed", seeds=1),
    Design("2 seeds", seeds=2),
    Design("5 seeds", seeds=5),
    Design("8 samples", samples=8),
    Design("8 samples, 1 seed", samples=8, seeds=1),
    Design("100 examples", examples=100),
    Design("500 examples", examples=500),
    Design("no change", change=0.0),
    Design("no change, 1 seed", change=0.0, seeds=1),
    Design("0.70 - 0.02", change=-0.02),
    Design("0.70 - 0.02, 1 seed", change=-0.02, seeds=1),
    Design("0.90 - 0.50", original=0.9, change=-0.5),
    Design("0.90 - 0.50, 1 seed", original=0.9, change=-0.5, seeds=1),
]
HARD = [
    Design("seeds all alike, 2 seeds", between_seeds=0.0, seeds=2),
    Design("seeds all alike, 3 seeds", between_seeds=0.0),
    Design("seeds all alike, 5 seeds", between_seeds=0.0, seeds=5),
    Design("seeds 6 points apart, 2 seeds", between_seeds=0.5, seeds=2),
    Design("seeds 6 points apart, 3 seeds", between_seeds=0.5),
    Design("seeds 6 points apart, 5 seeds", between_seeds=0.5, seeds=5),
    Design("30 examples, 16 samples", examples=30, samples=16),
    Design("nearly perfect: 0.97 - 0.02, 1 seed", original=0.97, change=-0.02, seeds=1),
    Design("3 % change at all, 1 seed", difficulty=20.0, uneven=0.0, between_seeds=0.0, change=-0.02, seeds=1),
]


def accuracy(shift: float, spread: float) -> float:
    """The mean of expit(shift + spread * z) over a standard normal z."""
    return float(expit(shift + spread * NORMAL) @ WEIGHTS)


@cache
def shift_of(mean: float, spread: float) -> float:
    """The shift with which `accuracy` is `mean`."""
    return float(brentq(lambda shift: accuracy(shift, spread) - mean, -100, 100))


def simulate(design: Design, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float]:
    """A study: scores before (examples) and after (seeds, examples), and what accuracy after truly is."""
    d = design
    by_example = np.hypot(d.difficulty, d.uneven)
    after = shift_of(d.original + d.change, np.hypot(by_example, d.between_seeds))
    ease_E = rng.normal(0, d.difficulty, d.examples)
    effect_E = rng.normal(0, d.uneven, d.examples)
    run_S = rng.normal(0, d.between_seeds, d.seeds)
    chance_E = expit(shift_of(d.original, d.difficulty) + ease_E)
    chance_S_E = expit(after + ease_E + effect_E + run_S[:, None])
    before_E, after_S_E = (rng.binomial(d.samples, chance) / d.samples for chance in (chance_E, chance_S_E))
    return before_E, after_S_E, accuracy(after + run_S[0], by_example) if d.seeds == 1 else d.original + d.change


def measure(design: Design, studies: int) -> tuple[list[Interval], list[float], list[Interval], list[float]]:
    """Intervals of change and of score, each with the truths."""
    rng = np.random.default_rng(list(design.name.encode()))
    changes, scores, truths = [], [], []
    for _ in range(studies):
        before_E, after_S_E, truth = simulate(design, rng)
        changes.append(paired_change(before_E, after_S_E))
        scores.append(mean_score(after_S_E))
        truths.append(truth)
    return changes, [t - design.original for t in truths], scores, truths


def line(name: str, intervals: list[Interval], truths: list[float]) -> tuple[str, float]:
    """A row of the table, and the coverage."""
    low, high = np.array([(i.low, i.high) for i in intervals]).T
    below, above = float(np.mean(high < truths)), float(np.mean(low > truths))
    covered = 1 - below - above
    return f"| {name} | {covered:.3f} | {below:.3f} | {above:.3f} | {(high - low).mean():.3f} |", covered


def main(studies: int = 2000) -> None:
    """Print the tables."""
    for title, designs in (("usual designs", USUAL), ("hard designs", HARD)):
        measured = [(design.name, *measure(design, studies)) for design in designs]
        for what, rows in (
            ("paired_change", [line(name, changes, true) for name, changes, true, _, _ in measured]),
            ("mean_score", [line(name, scores, true) for name, _, _, scores, true in measured]),
        ):
            print(f"\n| {what}, {title} | coverage | interval below truth | above | mean width |")
            print("|---|---|---|---|---|")
            print("\n".join(text for text, _ in rows))
            print(f"| all {len(rows)} designs | {np.mean([covered for _, covered in rows]):.3f} | | | |", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
