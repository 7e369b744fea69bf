"""The evaluation points of a trial, in the order in which it runs them."""

from collections.abc import Callable, Iterator
from typing import Any

from orchestrator.plan.bisection import next_budget
from orchestrator.plan.trial import EvaluationPoint, Trial
from orchestrator.store.stage import Stage
from orchestrator.study.schema import Study


def points_to_run(trial: Trial, study: Study, accuracy: Callable[[Stage], float]) -> Iterator[EvaluationPoint]:
    """The points of a trial. The next one is determined when the one before it is finished.

    All of them, budgets upwards; or those that the search of the recovery chooses. `accuracy` reads that of a finished
    evaluation.
    """
    search = study.recoveries[trial.recovery].search if trial.recovery else None
    if search is None:
        yield from trial.points
        return
    yield from (point for point in trial.points if point.step is not None)
    by_budget = {point.budget: point for point in trial.points if point.step is None}
    budgets = [budget for budget in by_budget if budget]
    shares: dict[int, float] = {}
    while (budget := next_budget(budgets, shares, search.recovered)) is not None:
        yield by_budget[budget]
        before = accuracy(trial.untrained_scores[search.benchmark])
        after = accuracy(by_budget[budget].scores[search.benchmark])
        shares[budget] = after / before if before else 1.0


def completed_points(trial: Trial, study: Study, records: dict[Stage, dict[str, Any]]) -> list[EvaluationPoint] | None:
    """The points that a finished trial has run, by the records of its stages; None for an unfinished trial."""
    if any(stage not in records for stage in trial.references()):
        return None
    completed = []
    for point in points_to_run(trial, study, lambda stage: records[stage]["facts"]["accuracy"]):
        if any(stage not in records for stage in point.stages()):
            return None
        completed.append(point)
    return completed
