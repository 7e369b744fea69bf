"""The budget at which a student is back, of each condition and recovery of a pair; see evaluators/crossing.py.

It is told for the benchmark and the share of a recovery's search; without a search, of 95 % of the benchmark that
figures show.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from evaluators.analysis.recovery_budget import RecoveryBudget, recovery_budget
from orchestrator.plan.trial import EvaluationPoint, Trial
from orchestrator.store.stage import Stage
from orchestrator.study.schema import Study

ENOUGH = 0.95
Sought = tuple[str, str, str, str, str, float]  # student, teacher, condition, recovery, benchmark, share


@dataclass(frozen=True)
class RecoveryResult:
    """The budget that brings back the share `recovered` of the original student's score on a benchmark."""

    student: str
    teacher: str
    condition: str
    recovery: str
    benchmark: str
    recovered: float
    n: int
    seeds: list[int]
    budget: RecoveryBudget


def recovery_budgets(
    walks: Sequence[tuple[Trial, list[EvaluationPoint]]],
    study: Study,
    leading: str | None,
    scores: Callable[[Stage], np.ndarray],
) -> list[RecoveryResult]:
    """Of all trials that were walked, by pair. `leading` is the benchmark of recoveries without a search; `scores`
    reads an evaluation's, one for each example."""
    found: dict[Sought, dict[int, dict[int, np.ndarray]]] = defaultdict(dict)
    before: dict[Sought, np.ndarray] = {}
    for trial, steps in walks:
        search = study.recoveries[trial.recovery].search if trial.recovery else None
        benchmark, enough = (leading, ENOUGH) if search is None else (search.benchmark, search.recovered)
        if trial.recovery and benchmark is not None and benchmark in steps[-1].scores:
            key = (trial.student, trial.teacher, trial.condition, trial.recovery, benchmark, enough)
            found[key][trial.seed] = {s.budget: scores(s.scores[benchmark]) for s in steps if s.at is None}
            before[key] = scores(trial.original[benchmark])
    pairs = [(pair.student, pair.teacher) for pair in study.pair_list]
    return [
        RecoveryResult(
            *key,
            n=len(before[key]),
            seeds=list(by_seed),
            budget=recovery_budget(before[key], list(by_seed.values()), key[-1]),
        )
        for key, by_seed in sorted(found.items(), key=lambda one: pairs.index(one[0][:2]))
    ]
