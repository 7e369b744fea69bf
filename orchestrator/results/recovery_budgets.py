"""The recovery budget of each pair, condition and recovery; see evaluators/analysis/recovery_budget.py.

It is of the benchmark and the share that a recovery's search looks for; without a search, of 95 % of the score on the
benchmark that figures show.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluators.analysis.recovery_budget import recovery_budget
from orchestrator.measures import MEASURES, SCORE
from orchestrator.plan.trial import EvaluationPoint, Trial
from orchestrator.results.model import RecoveryResult
from orchestrator.store.reader import StageReader
from orchestrator.store.stage import Stage
from orchestrator.study.schema import Study

ENOUGH = 0.95


@dataclass(frozen=True, kw_only=True)
class _Target:
    """What is to be restored: a share of the untrained student's score on a benchmark."""

    student: str
    teacher: str
    condition: str
    recovery: str
    benchmark: str
    recovered: float


def recovery_budgets(
    finished: Sequence[tuple[Trial, list[EvaluationPoint]]], study: Study, leading: str | None, reader: StageReader
) -> list[RecoveryResult]:
    """Of all finished trials, by pair. `leading` is the benchmark of recoveries without a search."""
    scores_by_seed: dict[_Target, dict[int, dict[int, np.ndarray]]] = defaultdict(dict)
    untrained: dict[_Target, np.ndarray] = {}
    for trial, points in finished:
        target = _target(trial, study, leading)
        if target is not None and target.benchmark in points[-1].scores:
            scores_by_seed[target][trial.seed] = {
                point.budget: _scores(point.scores[target.benchmark], reader) for point in points if point.step is None
            }
            untrained[target] = _scores(trial.untrained_scores[target.benchmark], reader)
    pairs = {(pair.student, pair.teacher): number for number, pair in enumerate(study.pair_list)}
    return [
        RecoveryResult(
            **vars(target),
            n=len(untrained[target]),
            seeds=list(by_seed),
            budget=recovery_budget(untrained[target], list(by_seed.values()), target.recovered),
        )
        for target, by_seed in sorted(scores_by_seed.items(), key=lambda item: pairs[item[0].student, item[0].teacher])
    ]


def _target(trial: Trial, study: Study, leading: str | None) -> _Target | None:
    """None for a trial without a recovery, and where there is no benchmark."""
    search = study.recoveries[trial.recovery].search if trial.recovery else None
    benchmark, recovered = (leading, ENOUGH) if search is None else (search.benchmark, search.recovered)
    if not trial.recovery or benchmark is None:
        return None
    return _Target(
        student=trial.student,
        teacher=trial.teacher,
        condition=trial.condition,
        recovery=trial.recovery,
        benchmark=benchmark,
        recovered=recovered,
    )


def _scores(evaluation: Stage, reader: StageReader) -> np.ndarray:
    return np.array(MEASURES.module(SCORE).values(reader, (evaluation,), "student").values, dtype=float)
