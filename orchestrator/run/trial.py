"""One trial, as Ray Tune runs it: a student, walked through the budgets of a recovery."""

from functools import cache
from typing import Any

from orchestrator.plan.build import build_plan
from orchestrator.plan.points import points_to_run
from orchestrator.plan.trial import Plan
from orchestrator.run.stage_runner import StageFailed, StageRunner
from orchestrator.store.stage import Stage
from orchestrator.store.store import Store
from orchestrator.study.schema import Study


def run_trial(config: dict[str, Any], study: str, run: str, board: Any) -> None:
    """Run every point of the trial number `config["trial"]` done, and report after each. `study` is a study in JSON."""
    import ray
    from ray import tune

    plan, store = _unfolded(study)
    trial = plan.trials[config["trial"]]
    site = StageRunner(run, store, board, trial.key)

    def accuracy(stage: Stage) -> float:
        (record,) = site.ensure([stage])
        return record["facts"]["accuracy"]

    try:
        site.ensure(trial.references())
        for point in points_to_run(trial, plan.study, accuracy):
            site.ensure(point.stages())
            tune.report({"budget": point.budget, **{name: accuracy(stage) for name, stage in point.scores.items()}})
    except StageFailed as failed:
        if not failed.here:
            ray.get(board.skip.remote(failed.stage, trial.key, failed.message))


@cache
def _unfolded(study: str) -> tuple[Plan, Store]:
    plan = build_plan(Study.model_validate_json(study))
    return plan, Store(plan.study.store)
