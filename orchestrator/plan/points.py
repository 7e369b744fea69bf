"""The points that a trial goes to, one after the other."""

from collections.abc import Callable, Iterator

from orchestrator.plan.bisection import next_budget
from orchestrator.plan.trial import EvaluationPoint, Trial
from orchestrator.store.stage import Stage
from orchestrator.study.schema import Study


def points_to_run(trial: Trial, study: Study, accuracy: Callable[[Stage], float]) -> Iterator[EvaluationPoint]:
    """The steps of a trial, one after the other: each is asked for when the one before it is done.

    All of them, upwards; or those that the recovery's search goes by. `accuracy` is that of an evaluation that is done.
    """
    search = study.recoveries[trial.recovery].search if trial.recovery else None
    if search is None:
        yield from trial.steps
        return
    yield from (step for step in trial.steps if step.at is not None)
    by_budget = {step.budget: step for step in trial.steps if step.at is None}
    budgets = [budget for budget in by_budget if budget]
    shares: dict[int, float] = {}
    while (budget := next_budget(budgets, shares, search.recovered)) is not None:
        yield by_budget[budget]
        before = accuracy(trial.original[search.benchmark])
        after = accuracy(by_budget[budget].scores[search.benchmark])
        shares[budget] = after / before if before else 1.0


def completed_points(trial: Trial, study: Study, records: dict) -> list[EvaluationPoint] | None:
    """The steps that a finished trial has gone, read off the records; None for a trial that has not finished."""
    if any(stage not in records for stage in trial.references()):
        return None
    walked = []
    for step in points_to_run(trial, study, lambda stage: records[stage]["facts"]["accuracy"]):
        if any(stage not in records for stage in step.stages()):
            return None
        walked.append(step)
    return walked
