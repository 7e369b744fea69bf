"""How often the 95 % interval of the budget that brings a student back holds the truth, in simulated studies.

    python -m benchmarks.recovered [studies]

A trained student has lost half of its score of 0.9, and comes back over log(1 + budget) either on a line or ever more
slowly; it is at 95 % at a budget that is normal over seeds on that axis, of which the median, 100, is the truth. An
example is right where the student's share exceeds the example's difficulty, or, 3 times of 10, by chance of the same
size. Budgets are the powers of 2 up to 2,048, all of them or those of a search.
"""

import sys
from collections.abc import Iterator
from itertools import product

import numpy as np

from evaluators.analysis.recovery_budget import recovery_budget
from orchestrator.plan.bisection import next_budget

TRUTH, ENOUGH, LOSS, ORIGINAL, BY_CHANCE = 100, 0.95, 0.5, 0.9, 0.3
BUDGETS = [2**k for k in range(1, 12)]
DESIGNS = [(1, 200, 0.0), (3, 200, 0.0), (3, 200, 0.3), (5, 200, 0.3), (3, 500, 0.3), (3, 200, 0.8)]


def share(way: str, budget: int, back_at: float) -> float:
    """The share of its score that a student has after a budget, which is 95 % where log(1 + budget) is `back_at`."""
    part = np.log1p(budget) / back_at
    lost = LOSS * (1 - ENOUGH) ** part / LOSS**part if way == "slower and slower" else LOSS + (1 - ENOUGH - LOSS) * part
    return min(1.0, 1 - lost)


def study(
    rng: np.random.Generator, way: str, search: bool, seeds: int, n: int, apart: float
) -> tuple[np.ndarray, list[dict[int, np.ndarray]]]:
    """The original student's scores, and those of each seed by budget."""
    before_E, difficulty_E = (rng.random(n) < ORIGINAL).astype(float), rng.random(n)
    walks = []
    for _ in range(seeds):
        back_at = np.log1p(TRUTH) + apart * rng.standard_normal()
        walk: dict[int, np.ndarray] = {}
        for budget in _walked(before_E, walk) if search else [0, *BUDGETS]:
            mark_E = np.where(rng.random(n) < BY_CHANCE, rng.random(n), difficulty_E)
            walk[budget] = before_E * (mark_E < share(way, budget, back_at))
        walks.append(walk)
    return before_E, walks


def _walked(before_E: np.ndarray, walk: dict[int, np.ndarray]) -> Iterator[int]:
    def shares() -> dict[int, float]:
        return {budget: float(after_E.sum() / before_E.sum()) for budget, after_E in walk.items()}

    while (budget := next_budget(BUDGETS, shares(), ENOUGH)) is not None:
        yield budget


def main(studies: int = 500) -> None:
    """Print the table."""
    print("| way back | budgets | seeds, examples, seeds apart | coverage | below | above | width | trainings a seed |")
    print("|---|---|---|---|---|---|---|---|")
    for way, search, (seeds, n, apart) in product(("line", "slower and slower"), (False, True), DESIGNS):
        rng, below, above, widths, trainings = np.random.default_rng(seeds * n), 0, 0, [], 0
        for _ in range(studies):
            before_E, walks = study(rng, way, search, seeds, n, apart)
            found = recovery_budget(before_E, walks, ENOUGH)
            below += found.high.value < TRUTH and not found.high.beyond
            above += found.low.value > TRUTH
            widths.append(np.log1p(found.high.value) - np.log1p(found.low.value))
            trainings += sum(len(walk) - 1 for walk in walks)
        missed = (below / studies, above / studies)
        design = f"{way} | {'search' if search else 'all'} | {seeds}, {n}, {apart}"
        told = f"{1 - sum(missed):.3f} | {missed[0]:.3f} | {missed[1]:.3f} | x {np.exp(np.mean(widths)):.1f}"
        print(f"| {design} | {told} | {trainings / studies / seeds:.1f} |", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
