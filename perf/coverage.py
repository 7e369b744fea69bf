"""How often the 95 % intervals contain the true value, in 2,000 simulated studies of each design.

    python -m perf.coverage [studies]

perf/simulation.py describes the simulated studies. A study counts as below if its whole interval is
below the true value.
"""

import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from evaluators.analysis.statistics import Interval, mean_score, paired_change
from perf.simulation import Design, simulate, simulate_gap, simulate_parts, simulate_two

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
    Design("0.90 - 0.50", base=0.9, change=-0.5),
    Design("0.90 - 0.50, 1 seed", base=0.9, change=-0.5, seeds=1),
]
HARD = [
    Design("seeds all alike, 2 seeds", between_seeds=0.0, seeds=2),
    Design("seeds all alike, 3 seeds", between_seeds=0.0),
    Design("seeds all alike, 5 seeds", between_seeds=0.0, seeds=5),
    Design("seeds 6 points apart, 2 seeds", between_seeds=0.5, seeds=2),
    Design("seeds 6 points apart, 3 seeds", between_seeds=0.5),
    Design("seeds 6 points apart, 5 seeds", between_seeds=0.5, seeds=5),
    Design("30 examples, 16 samples", examples=30, samples=16),
    Design("nearly perfect: 0.97 - 0.02, 1 seed", base=0.97, change=-0.02, seeds=1),
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
HIGHER = Design("higher levels", examples=80, base=0.5, change=-0.3)
LOWER = Design("lower levels", examples=80, base=0.85, change=-0.1)
PARTS = {
    "80 examples each: 0.50 - 0.30 and 0.85 - 0.10, 3 seeds": (HIGHER, LOWER),
    "1 seed": (replace(HIGHER, seeds=1), replace(LOWER, seeds=1)),
    "no difference": (HARM, HARM),
    "seeds 6 points apart": (replace(HIGHER, between_seeds=0.5), replace(LOWER, between_seeds=0.5)),
}
GAPS = {
    "0.50 and 0.65 of 0.70, 3 seeds": (HARM, LESS),
    "1 seed": (replace(HARM, seeds=1), replace(LESS, seeds=1)),
    "0.50 and 0.50": (HARM, HARM),
    "seeds differ by 6 points": (replace(HARM, between_seeds=0.5), replace(LESS, between_seeds=0.5)),
    "a gap of 0.10": (replace(HARM, change=-0.1), LESS),
}
Row = tuple[str, list[Interval], list[float]]  # the name of a design, its intervals, the true values


def measure(design: Design, studies: int) -> tuple[Row, Row]:
    """The intervals of the change and of the score after training, with the true values."""
    rng = np.random.default_rng(list(design.name.encode()))
    changes, scores, truths = [], [], []
    for _ in range(studies):
        before_E, after_S_E, truth = simulate(design, rng)
        changes.append(paired_change(before_E, after_S_E))
        scores.append(mean_score(after_S_E))
        truths.append(truth)
    return (design.name, changes, [t - design.base for t in truths]), (design.name, scores, truths)


def measure_differences(
    designs: dict[str, tuple[Design, Design]],
    studies: int,
    simulated: Callable[[Design, Design, np.random.Generator], tuple[Interval, float]],
) -> list[Row]:
    """For each pair of designs the intervals of the difference that is simulated, with the true values."""
    rows = []
    for name, pair in designs.items():
        rng = np.random.default_rng(list(name.encode()))
        intervals, truths = zip(*(simulated(*pair, rng) for _ in range(studies)), strict=True)
        rows.append((name, list(intervals), list(truths)))
    return rows


def show(title: str, rows: list[Row]) -> None:
    """Print a table, one line for each design."""
    print(f"\n| {title} | coverage | interval below the true value | above | mean width |")
    print("|---|---|---|---|---|")
    covered = []
    for name, intervals, truths in rows:
        low, high = np.array([(i.low, i.high) for i in intervals]).T
        below, above = float(np.mean(high < truths)), float(np.mean(low > truths))
        covered.append(1 - below - above)
        print(f"| {name} | {covered[-1]:.3f} | {below:.3f} | {above:.3f} | {(high - low).mean():.3f} |")
    print(f"| all {len(rows)} designs | {np.mean(covered):.3f} | | | |", flush=True)


def main(studies: int = 2000) -> None:
    """Print the tables."""
    for title, designs in (("usual designs", USUAL), ("hard designs", HARD)):
        changes, scores = zip(*(measure(design, studies) for design in designs), strict=True)
        show(f"paired_change, {title}", list(changes))
        show(f"mean_score, {title}", list(scores))
    show("paired_difference", measure_differences(TWO, studies, simulate_two))
    show("difference, of two parts", measure_differences(PARTS, studies, simulate_parts))
    show("gap_closed", measure_differences(GAPS, studies, simulate_gap))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
