"""One trial, as Ray Tune runs it: a student, walked through its recovery budgets in order."""

from functools import cache
from typing import Any

from orchestrator.execute import Site, StageFailed
from orchestrator.plan import Plan, Step, Trial, unfold
from orchestrator.store import Store
from orchestrator.study import Stop, Study


def walk(config: dict[str, Any], study: str, run: str, board: Any) -> None:
    """Get every step of the trial number `config["trial"]` done, and report after each. `study` is a study in JSON."""
    import ray
    from ray import tune

    plan, store = _unfolded(study)
    trial = plan.trials[config["trial"]]
    site = Site(run, store, board, trial.key)
    try:
        original = dict(zip(trial.original, site.ensure(trial.original.values()), strict=True))
        site.ensure(trial.references())
        for step in trial.steps:
            site.ensure(step.stages())
            records = dict(zip(step.scores, site.ensure(step.scores.values()), strict=True))
            tune.report(metrics(step, records, original, plan.study))
    except StageFailed as failed:
        if not failed.here:
            ray.get(board.skip.remote(failed.stage, trial.key, failed.message))


@cache
def _unfolded(study: str) -> tuple[Plan, Store]:
    plan = unfold(Study.model_validate_json(study))
    return plan, Store(plan.study.store)


def metrics(step: Step, records: dict[str, dict], original: dict[str, dict], study: Study) -> dict[str, float]:
    """What a trial reports after a step: its budget, its scores, and the share that a study's `stop` looks at."""
    scores = {name: record["facts"]["accuracy"] for name, record in records.items()}
    stop = study.recovery.stop if study.recovery is not None else None
    if stop is None or stop.benchmark not in records or step.at is not None:
        return {"budget": step.budget, **scores}
    return {"budget": step.budget, **scores, "recovered": _share(stop, records, original)}


def _share(stop: Stop, records: dict[str, dict], original: dict[str, dict]) -> float:
    before = original[stop.benchmark]["facts"]["accuracy"]
    return records[stop.benchmark]["facts"]["accuracy"] / before if before else 1.0


def steps_walked(trial: Trial, study: Study, records: dict) -> list[Step] | None:
    """The steps that a finished trial has gone, read off the records; None for a trial that has not finished.

    A study's `stop` ends a trial early, by the same rule by which Ray Tune stops it.
    """
    if any(stage not in records for stage in trial.references()):
        return None
    known = {name: records[stage] for name, stage in trial.original.items()}
    walked = []
    for step in trial.steps:
        if any(stage not in records for stage in step.stages()):
            return None
        walked.append(step)
        scores = {name: records[stage] for name, stage in step.scores.items()}
        recovered = metrics(step, scores, known, study).get("recovered")
        if recovered is not None and recovered >= study.recovery.stop.recovered:  # type: ignore[union-attr]
            break
    return walked
