"""How often the 95 % intervals hold the truth: 2,000 simulated studies of each design.

    python -m benchmarks.coverage [studies]

An example's chance of a right answer is logistic in its difficulty (normal), in what training does to all examples, to
this one (normal) and, in this training run, to all (normal). The truth is the mean over all examples and training runs
there could be or, with one seed, over all examples for that trained student; it is integrated, not simulated. A study
misses below where the whole interval lies below the truth.
"""

import sys
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

from evaluators.analysis.statistics import Interval, difference, mean_score, paired_change, paired_difference

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

HARM, LESS = Design("harm"), Design("less", change=-0.05)
TWO = {
    "two students: 0.50 and 0.65, 3 seeds": (HARM, LESS),
    "1 seed": (replace(HARM, seeds=1), replace(LESS, seeds=1)),
    "0.50 and 0.50": (HARM, HARM),
    "0.50 and 0.50, 1 seed": (replace(HARM, seeds=1), replace(HARM, seeds=1)),
    "seeds 6 points apart": (replace(HARM, between_seeds=0.5), replace(LESS, between_seeds=0.5)),
    "8 samples": (replace(HARM, samples=8), replace(LESS, samples=8)),
}
HIGHER = Design("higher levels", examples=80, original=0.5, change=-0.3)
LOWER = Design("lower levels", examples=80, original=0.85, change=-0.1)
PARTS = {
    "80 examples each: 0.50 - 0.30 and 0.85 - 0.10, 3 seeds": (HIGHER, LOWER),
    "1 seed": (replace(HIGHER, seeds=1), replace(LOWER, seeds=1)),
    "no difference": (HARM, HARM),
    "seeds 6 points apart": (replace(HIGHER, between_seeds=0.5), replace(LOWER, between_seeds=0.5)),
}


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
    ease_E = rng.normal(0, d.difficulty, d.examples)
    effect_E = rng.normal(0, d.uneven, d.examples)
    run_S = rng.normal(0, d.between_seeds, d.seeds)
    chance_E = expit(shift_of(d.original, d.difficulty) + ease_E)
    chance_S_E, truth = trained(d, ease_E, effect_E, run_S)
    before_E, after_S_E = (rng.binomial(d.samples, chance) / d.samples for chance in (chance_E, chance_S_E))
    return before_E, after_S_E, truth


def trained(d: Design, ease_E: np.ndarray, effect_E: np.ndarray, run_S: np.ndarray) -> tuple[np.ndarray, float]:
    """The chances of right answers after training, and what accuracy then truly is."""
    by_example = np.hypot(d.difficulty, d.uneven)
    after = shift_of(d.original + d.change, np.hypot(by_example, d.between_seeds))
    chance_S_E = expit(after + ease_E + effect_E + run_S[:, None])
    return chance_S_E, accuracy(after + run_S[0], by_example) if d.seeds == 1 else d.original + d.change


def simulate_two(first: Design, second: Design, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float]:
    """Two ways of training on the same examples: scores (seeds, examples) of both, and their true difference."""
    ease_E = rng.normal(0, first.difficulty, first.examples)
    scores, truths = [], []
    for d in (first, second):
        effect_E, run_S = rng.normal(0, d.uneven, d.examples), rng.normal(0, d.between_seeds, d.seeds)
        chance_S_E, truth = trained(d, ease_E, effect_E, run_S)
        scores.append(rng.binomial(d.samples, chance_S_E) / d.samples)
        truths.append(truth)
    return scores[0], scores[1], truths[0] - truths[1]


def simulate_parts(first: Design, second: Design, rng: np.random.Generator) -> tuple[Interval, float]:
    """One way of training on two parts of a benchmark: how much more the first changes by `difference`, and truly."""
    run_S = rng.normal(0, first.between_seeds, first.seeds)  # the same students answer both parts
    changes, truths = [], []
    for d in (first, second):
        ease_E, effect_E = rng.normal(0, d.difficulty, d.examples), rng.normal(0, d.uneven, d.examples)
        chance_S_E, truth = trained(d, ease_E, effect_E, run_S)
        before_E = rng.binomial(d.samples, expit(shift_of(d.original, d.difficulty) + ease_E)) / d.samples
        changes.append(paired_change(before_E, rng.binomial(d.samples, chance_S_E) / d.samples))
        truths.append(truth - d.original)
    return difference(*changes), truths[0] - truths[1]


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


def measure_two(name: str, designs: tuple[Design, Design], studies: int) -> tuple[str, list[Interval], list[float]]:
    """The intervals of two students' difference, with the truths."""
    rng = np.random.default_rng(list(name.encode()))
    told = [simulate_two(*designs, rng) for _ in range(studies)]
    return name, [paired_difference(first, second) for first, second, _ in told], [truth for *_, truth in told]


def measure_parts(name: str, designs: tuple[Design, Design], studies: int) -> tuple[str, list[Interval], list[float]]:
    """The intervals of the difference between two parts of a benchmark, with the truths."""
    rng = np.random.default_rng(list(name.encode()))
    told = [simulate_parts(*designs, rng) for _ in range(studies)]
    return name, [interval for interval, _ in told], [truth for _, truth in told]


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
        show(f"paired_change, {title}", [line(name, changes, true) for name, changes, true, _, _ in measured])
        show(f"mean_score, {title}", [line(name, scores, true) for name, _, _, scores, true in measured])
    show("paired_difference", [line(*measure_two(name, designs, studies)) for name, designs in TWO.items()])
    show("difference, of two parts", [line(*measure_parts(name, designs, studies)) for name, designs in PARTS.items()])


def show(title: str, rows: list[tuple[str, float]]) -> None:
    """Print a table."""
    print(f"\n| {title} | coverage | interval below truth | above | mean width |")
    print("|---|---|---|---|---|")
    print("\n".join(text for text, _ in rows))
    print(f"| all {len(rows)} designs | {np.mean([covered for _, covered in rows]):.3f} | | | |", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
