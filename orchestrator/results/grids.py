"""The changes of a condition by student and teacher, where the pairs form a grid, with the shares of their variance.

Pairs form a grid if some remain after students with one teacher and teachers with one student are left out, again and
again. Points are those before any recovery. A condition in which several teachers lead to the same student has no grid:
its teachers play no part. See evaluators/analysis/grid_variance.py.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from itertools import groupby

import numpy as np

from evaluators.analysis.grid_variance import GridVariance, grid_variance
from evaluators.analysis.statistics import Interval
from orchestrator.measures import MEASURES, SCORE
from orchestrator.plan.trial import EvaluationPoint, Trial
from orchestrator.results.model import GridResult, Measurement
from orchestrator.store.reader import StageReader
from orchestrator.store.stage import Stage

TITLE = "Change of score by student and teacher"
PARTS = ("student", "teacher", "pairing")
Pair = tuple[str, str]  # student, teacher
Finished = tuple[Trial, list[EvaluationPoint]]  # a trial, with the points that it has finished
BySeed = dict[int, tuple[Stage, Stage]]  # the evaluations of the untrained and of the trained student


def grids(finished: Sequence[Finished], scores: Sequence[Measurement], reader: StageReader) -> list[GridResult]:
    """Of each condition and benchmark whose pairs form a grid, in the order of the scores."""
    stages = _stages(finished)
    found: dict[tuple[str, str], dict[Pair, Measurement]] = defaultdict(dict)
    for one in scores:
        if not one.point.budget and one.point.step is None:
            found[one.point.condition, str(one.benchmark)][one.point.student, one.point.teacher] = one
    return [
        _grid(of_pairs, stages[place], reader)
        for place, of_pairs in found.items()
        if pairs_in_grid(of_pairs) and not _shares_students(stages[place])
    ]


def pairs_in_grid(pairs: Collection[Pair]) -> list[Pair]:
    """Without students that have one teacher, and teachers that have one student, among the pairs that remain."""
    students, teachers = Counter(student for student, _ in pairs), Counter(teacher for _, teacher in pairs)
    kept = [(student, teacher) for student, teacher in pairs if students[student] > 1 and teachers[teacher] > 1]
    return kept if len(kept) == len(pairs) else pairs_in_grid(kept)


def by_condition(results: Sequence[GridResult]) -> list[list[GridResult]]:
    """The grids of each condition, on all benchmarks."""
    return [list(group) for _, group in groupby(results, lambda one: one.condition)]


def shares(grid: GridResult, intervals: bool) -> str:
    """The shares of the variance in a line of text, with or without their intervals; or why there are none."""
    if grid.variance is None:
        return "all pairs changed alike" if grid.seeds else "no seed has finished for all pairs"
    parts = {name: getattr(grid.variance, name) for name in PARTS}
    texts = [f"{name} {percent(one.value)}{f' [{bounds(one)}]' if intervals else ''}" for name, one in parts.items()]
    return ", ".join([*texts, f"noise {percent(grid.variance.noise)}"])


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def bounds(share: Interval) -> str:
    """`12, 25`, in percent."""
    return f"{100 * share.low:.0f}, {100 * share.high:.0f}"


def _stages(finished: Sequence[Finished]) -> Mapping[tuple[str, str], dict[Pair, BySeed]]:
    """The evaluations by condition and benchmark. Trials of several recoveries share them."""
    stages: dict[tuple[str, str], dict[Pair, BySeed]] = defaultdict(lambda: defaultdict(dict))
    for trial, points in finished:
        for point in points:
            if not point.budget and point.step is None:
                for benchmark, stage in point.scores.items():
                    by_seed = stages[trial.condition, benchmark][trial.pair]
                    by_seed[trial.seed] = trial.untrained_scores[benchmark], stage
    return stages


def _shares_students(stages: Mapping[Pair, BySeed]) -> bool:
    """Whether several pairs have the same trained student."""
    trained = [stage for by_seed in stages.values() for stage in {stage for _, stage in by_seed.values()}]
    return len(set(trained)) < len(trained)


def _grid(of_pairs: Mapping[Pair, Measurement], stages: Mapping[Pair, BySeed], reader: StageReader) -> GridResult:
    any_pair = next(iter(of_pairs.values()))
    students, teachers = (list(dict.fromkeys(names)) for names in zip(*of_pairs, strict=True))
    pairs = pairs_in_grid(of_pairs)
    seeds = sorted(set.intersection(*(set(stages[pair]) for pair in pairs)))
    return GridResult(
        condition=any_pair.point.condition,
        benchmark=str(any_pair.benchmark),
        students=students,
        teachers=teachers,
        changes=[[_change(of_pairs.get((student, teacher))) for teacher in teachers] for student in students],
        pairs=pairs,
        n=any_pair.n,
        seeds=seeds,
        variance=_variance(pairs, seeds, stages, reader) if seeds else None,
    )


def _change(one: Measurement | None) -> Interval | None:
    return None if one is None else one.change


def _variance(
    pairs: Sequence[Pair], seeds: Sequence[int], stages: Mapping[Pair, BySeed], reader: StageReader
) -> GridVariance | None:
    changes_P_S_E = [[_changes(*stages[pair][seed], reader) for seed in seeds] for pair in pairs]
    return grid_variance(np.array(changes_P_S_E), *zip(*pairs, strict=True))


def _changes(untrained: Stage, trained: Stage, reader: StageReader) -> np.ndarray:
    """The change of each example."""
    before, after = (MEASURES.module(SCORE).values(reader, (stage,), "student") for stage in (untrained, trained))
    assert before.ids == after.ids, "examples do not pair"
    return np.array(after.values, dtype=float) - np.array(before.values, dtype=float)
