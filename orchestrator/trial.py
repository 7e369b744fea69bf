"""One trial, as Ray Tune runs it: a student, walked through the budgets of a recovery."""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from orchestrator.execute import Site, StageFailed
from orchestrator.plan import Plan, Step, Trial, unfold
from orchestrator.search import next_budget
from orchestrator.stage import Stage
from orchestrator.store import Store
from orchestrator.study import Study


def walk(config: dict[str, Any], study: str, run: str, board: Any) -> None:
    """Get every step of the trial number `config["trial"]` done, and report after each. `study` is a study in JSON."""
    import ray
    from ray import tune

    plan, store = _unfolded(study)
    trial = plan.trials[config["trial"]]
    site = Site(run, store, board, trial.key)

    def accuracy(stage: Stage) -> float:
        (record,) = site.ensure([stage])
        return record["facts"]["accuracy"]

    try:
        site.ensure(trial.references())
        for step in route(trial, plan.study, accuracy):
            site.ensure(step.stages())
            tune.report({"budget": step.budget, **{name: accuracy(stage) for name, stage in step.scores.items()}})
    except StageFailed as failed:
        if not failed.here:
            ray.get(board.skip.remote(failed.stage, trial.key, failed.message))


@cache
def _unfolded(study: str) -> tuple[Plan, Store]:
    plan = unfold(Study.model_validate_json(study))
    return plan, Store(plan.study.store)


def route(trial: Trial, study: Study, accuracy: Callable[[Stage], float]) -> Iterator[Step]:
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


def steps_walked(trial: Trial, study: Study, records: dict) -> list[Step] | None:
    """The steps that a finished trial has gone, read off the records; None for a trial that has not finished."""
    if any(stage not in records for stage in trial.references()):
        return None
    walked = []
    for step in route(trial, study, lambda stage: records[stage]["facts"]["accuracy"]):
        if any(stage not in records for stage in step.stages()):
            return None
        walked.append(step)
    return walked
