"""How often the 95 % intervals of the shares of variance contain the true shares, in simulated grids of each design.

    python -m perf.grid_variance [studies]

The untrained students solve 90 % of the examples, the trained ones 50 % in the mean over pairs. Pairs differ by effects
of students, teachers and pairings, seeds by normal deviations. An example is correct if its difficulty, which is that
of all pairs, is below the accuracy of the pair and seed. In 3 of 10 cases the difficulty is drawn anew. The true
variance of the noise is that of the pairs' changes between the simulated studies.
"""

import sys
from dataclasses import dataclass

import numpy as np

from evaluators.analysis.grid_variance import GridVariance, grid_variance

BASE_SCORE, MEAN_SCORE, RANDOM = 0.9, 0.5, 0.3
PARTS = ("student", "teacher", "pairing")


@dataclass(frozen=True, kw_only=True)
class Design:
    """A grid without the first `missing` pairs of its diagonal. `apart` is the standard deviation of the pairs' true
    changes, with `shares` of student, teacher and pairing. `seeds_apart` is that of seeds: in each pair by itself or,
    with `by_teacher`, the same for all students of a teacher."""

    students: int = 3
    teachers: int = 4
    missing: int = 0
    seeds: int = 3
    n: int = 200
    apart: float = 0.15
    seeds_apart: float = 0.02
    by_teacher: bool = False
    shares: tuple[float, float, float] = (1 / 3, 1 / 3, 1 / 3)

    @property
    def pairs(self) -> list[tuple[int, int]]:
        grid = [(student, teacher) for student in range(self.students) for teacher in range(self.teachers)]
        return [(student, teacher) for student, teacher in grid if student != teacher or student >= self.missing]

    def effects(self) -> np.ndarray:
        """The true effects of the pairs. They are those of the whole grid also where pairs are missing."""
        rng = np.random.default_rng(self.students * self.teachers)
        shape = self.students, self.teachers
        student, teacher, pairing = (rng.standard_normal(each) for each in ((shape[0], 1), (1, shape[1]), shape))
        pairing -= pairing.mean(axis=0) + pairing.mean(axis=1, keepdims=True)
        effects = np.zeros(shape)
        for share, part in zip(self.shares, (student, teacher, pairing), strict=True):
            effects += np.sqrt(share) * (part - part.mean()) / part.std()
        return self.apart * np.array([effects[pair] for pair in self.pairs])


DESIGNS = {
    "3 x 4 pairs, 3 seeds, 200 examples": Design(),
    "1 seed": Design(seeds=1, seeds_apart=0.0),
    "2 seeds": Design(seeds=2),
    "100 examples": Design(n=100),
    "seeds differ by 6 points": Design(seeds_apart=0.06),
    "seeds of a teacher differ by 6 points": Design(seeds_apart=0.06, by_teacher=True),
    "pairs differ by 3 points": Design(apart=0.03),
    "2 x 2 pairs": Design(students=2, teachers=2),
    "5 x 6 pairs": Design(students=5, teachers=6),
    "5 x 6 pairs without 5": Design(students=5, teachers=6, missing=5),
    "no pairing": Design(shares=(0.5, 0.5, 0.0)),
    "teachers only": Design(shares=(0.0, 1.0, 0.0)),
    "no differences": Design(apart=0.0),
}


def simulate(rng: np.random.Generator, design: Design, effect_P: np.ndarray) -> np.ndarray:
    """Changes of shape (pairs, seeds, examples)."""
    shape = len(effect_P), design.seeds, design.n
    seed_P_S = design.seeds_apart * rng.standard_normal(shape[:2])
    if design.by_teacher:
        seed_P_S = seed_P_S[[teacher for _, teacher in design.pairs]]
    difficulty = np.where(rng.random(shape) < RANDOM, rng.random(shape), rng.random(design.n))
    after = difficulty < (MEAN_SCORE + effect_P[:, None] + seed_P_S)[:, :, None]
    return after.astype(float) - (rng.random(design.n) < BASE_SCORE)


def truth(effect_P: np.ndarray, change_D_P: np.ndarray, names: list[list[str]]) -> list[float]:
    """The shares of student, teacher and pairing, given the pairs' changes in many studies."""
    noise = float((change_D_P - change_D_P.mean(axis=1, keepdims=True)).var(axis=0).mean())
    exact = grid_variance(effect_P[:, None, None], *names)
    if exact is None:
        return [0.0, 0.0, 0.0]
    return [getattr(exact, part).value * exact.sd**2 / (exact.sd**2 + noise) for part in PARTS]


def row(design: Design, studies: int) -> list[str]:
    """The cells of a design: of each part its coverage, then its mean width; the mean noise, and the true one."""
    rng, effect_P = np.random.default_rng(0), design.effects()
    names = [[str(one) for one in each] for each in zip(*design.pairs, strict=True)]
    simulated = [simulate(rng, design, effect_P) for _ in range(studies)]
    found: list[GridVariance] = [one for each in simulated if (one := grid_variance(each, *names)) is not None]
    true_3 = truth(effect_P, np.array([each.mean(axis=(1, 2)) for each in simulated]), names)
    cells, widths = [], []
    for part, true in zip(PARTS, true_3, strict=True):
        intervals = [getattr(one, part) for one in found]
        # Rounding decides about shares of 0.
        covered = [one.low - 1e-9 <= true <= one.high + 1e-9 for one in intervals]
        cells.append(f"{np.mean(covered):.3f}")
        widths.append(f"{np.mean([one.high - one.low for one in intervals]):.2f}")
    noise = np.mean([one.noise for one in found])
    return [*cells, *widths, f"{noise:.3f}", f"{1 - sum(true_3):.3f}"]


def main(studies: int = 1000) -> None:
    """Print the table."""
    columns = [*(f"{part}: coverage" for part in PARTS), *(f"{part}: width" for part in PARTS), "noise", "true noise"]
    print(f"| design | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
    for name, design in DESIGNS.items():
        print(f"| {name} | {' | '.join(row(design, studies))} |", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
