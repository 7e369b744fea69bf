"""One trial, as Ray Tune runs it: a student is evaluated at the points of a recovery."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import ray
from ray import tune

from orchestrator.plan.points import ShortBudget, points_to_run
from orchestrator.plan.trial import Plan
from orchestrator.run.stage_runner import StageFailed, StageRunner
from orchestrator.store.stage import Stage
from orchestrator.store.store import Store


def run_trial(config: dict[str, Any], plan_ref: ray.ObjectRef, run: str, event_log: Any, allocator: Any) -> None:
    """Run every point of the trial number `config["trial"]`, and report its scores to Ray Tune.

    `plan_ref` refers to the study's `Plan` in Ray's object store.
    """
    plan = _plan(plan_ref)
    trial = plan.trials[config["trial"]]
    ray.get(allocator.forget.remote(trial.key))  # An earlier process of this trial may have been lost.
    runner = StageRunner(run, Store(plan.study.store), event_log, allocator, trial.key)

    def facts(stage: Stage) -> Mapping[str, Any]:
        (record,) = runner.ensure([stage])
        return record["facts"]

    try:
        runner.ensure(trial.references())
        for point in points_to_run(trial, plan.study, facts):
            if isinstance(point, ShortBudget):
                event_log.note.remote(str(point), trial.key)
                continue
            runner.ensure(point.stages())
            scores = {name: facts(stage)["accuracy"] for name, stage in point.scores.items()}
            tune.report({"budget": point.budget, **scores})
    except StageFailed as failed:
        if not failed.here:
            ray.get(event_log.skip.remote(failed.stage, trial.key, failed.message))


@cache
def _plan(plan_ref: ray.ObjectRef) -> Plan:
    """The plan, read once in each process: Ray Tune runs many trials in one."""
    return ray.get(plan_ref)
