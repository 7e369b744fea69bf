"""One trial, as Ray Tune runs it: a student is evaluated at the points of a recovery."""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any

import ray
from ray import tune

from orchestrator.plan.points import ShortBudget, points_to_run
from orchestrator.plan.trial import EvaluationPoint, Plan
from orchestrator.run.stage_runner import StageFailed, StageRunner
from orchestrator.store.stage import Stage
from orchestrator.store.store import Store

MOST_POINTS = 32  # of a trial that run at once


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

    def report(point: EvaluationPoint) -> None:
        tune.report({"budget": point.budget, **{name: facts(one)["accuracy"] for name, one in point.scores.items()}})

    # All at once, so that engines and trainings have work of several points. Stages that wait take no resources.
    failures: list[StageFailed] = []
    with ThreadPoolExecutor(MOST_POINTS) as pool:
        running: list[tuple[EvaluationPoint | None, Future]] = []
        running.append((None, pool.submit(runner.ensure, list(trial.references()))))
        try:
            for point in points_to_run(trial, plan.study, facts):
                if isinstance(point, ShortBudget):
                    event_log.note.remote(str(point), trial.key)
                else:
                    running.append((point, pool.submit(runner.ensure, list(point.stages()))))
        except StageFailed as failed:  # of a stage that decides which points there are
            failures.append(failed)
        for each, future in running:
            try:
                future.result()
                if each is not None:
                    report(each)
            except StageFailed as failed:
                failures.append(failed)
    if failures and not any(failed.here for failed in failures):
        ray.get(event_log.skip.remote(failures[0].stage, trial.key, failures[0].message))


@cache
def _plan(plan_ref: ray.ObjectRef) -> Plan:
    """The plan, read once in each process: Ray Tune runs many trials in one."""
    return ray.get(plan_ref)
