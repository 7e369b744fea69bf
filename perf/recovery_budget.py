"""How often the 95 % interval of the recovery budget contains the true value, in simulated studies of each design.

    python -m perf.recovery_budget [studies]

Training has taken half of a base score of 0.9. The student recovers over log(1 + budget), on a line or more and more
slowly. It has 95 % of the base score at a budget that is normal over seeds on that axis. The median, 100, is the true
value. An example is correct if the student's share exceeds the difficulty of the example. In 3 of 10 cases the
difficulty is drawn anew. Budgets are the powers of 2 up to 2,048: all of them, or those that a bisection chooses.
"""

import sys
from collections.abc import Iterator
from itertools import product

import numpy as np

from evaluators.analysis.recovery_budget import recovery_budget
from orchestrator.plan.bisection import next_budget

TRUTH, SHARE, LOSS, BASE_SCORE, RANDOM = 100, 0.95, 0.5, 0.9, 0.3
BUDGETS = [2**k for k in range(1, 12)]
LINE, SLOWER = "line", "slower and slower"
DESIGNS = [(1, 200, 0.0), (3, 200, 0.0), (3, 200, 0.3), (5, 200, 0.3), (3, 500, 0.3), (3, 200, 0.8)]


def restored(shape: str, budget: int, recovered_at: float) -> float:
    """The share of the base score after a budget; it is SHARE where log(1 + budget) is `recovered_at`."""
    part = np.log1p(budget) / recovered_at
    lost = LOSS * ((1 - SHARE) / LOSS) ** part if shape == SLOWER else LOSS + (1 - SHARE - LOSS) * part
    return min(1.0, 1 - lost)


def simulate(
    rng: np.random.Generator, shape: str, search: bool, seeds: int, n: int, spread: float
) -> tuple[np.ndarray, list[dict[int, np.ndarray]]]:
    """The scores of the base student, and those of each seed by budget. Suffix E: examples."""
    base_E, difficulty_E = (rng.random(n) < BASE_SCORE).astype(float), rng.random(n)
    by_seed = []
    for _ in range(seeds):
        recovered_at = np.log1p(TRUTH) + spread * rng.standard_normal()
        scores: dict[int, np.ndarray] = {}
        for budget in _searched(base_E, scores) if search else [0, *BUDGETS]:
            drawn_E = np.where(rng.random(n) < RANDOM, rng.random(n), difficulty_E)
            scores[budget] = base_E * (drawn_E < restored(shape, budget, recovered_at))
        by_seed.append(scores)
    return base_E, by_seed


def _searched(base_E: np.ndarray, scores: dict[int, np.ndarray]) -> Iterator[int]:
    """The budgets that a bisection chooses; the caller adds each one's scores."""

    def shares() -> dict[int, float]:
        return {budget: float(after_E.sum() / base_E.sum()) for budget, after_E in scores.items()}

    while (budget := next_budget(BUDGETS, shares(), SHARE)) is not None:
        yield budget


def main(studies: int = 500) -> None:
    """Print the table."""
    print("| recovery | budgets | seeds, examples, seeds apart | coverage | below | above | width | trainings a seed |")
    print("|---|---|---|---|---|---|---|---|")
    for shape, search, (seeds, n, spread) in product((LINE, SLOWER), (False, True), DESIGNS):
        rng, below, above, widths, trainings = np.random.default_rng(seeds * n), 0, 0, [], 0
        for _ in range(studies):
            base_E, by_seed = simulate(rng, shape, search, seeds, n, spread)
            interval = recovery_budget(base_E, by_seed, SHARE)
            assert interval is not None, "the base student has a score"
            below += interval.high.value < TRUTH and not interval.high.is_lower_bound
            above += interval.low.value > TRUTH
            widths.append(np.log1p(interval.high.value) - np.log1p(interval.low.value))
            trainings += sum(len(scores) - 1 for scores in by_seed)
        missed = (below / studies, above / studies)
        design = f"{shape} | {'search' if search else 'all'} | {seeds}, {n}, {spread}"
        coverage = f"{1 - sum(missed):.3f} | {missed[0]:.3f} | {missed[1]:.3f} | x {np.exp(np.mean(widths)):.1f}"
        print(f"| {design} | {coverage} | {trainings / studies / seeds:.1f} |", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
