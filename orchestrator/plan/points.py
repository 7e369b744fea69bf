"""The evaluation points of a trial, in the order in which it runs them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.plan.bisection import next_budget
from orchestrator.plan.trial import EvaluationPoint, Trial
from orchestrator.store.stage import Stage
from orchestrator.study.schema import Study

Facts = Callable[[Stage], Mapping[str, Any]]  # the facts in the record of a finished stage


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What a trial has done so far, by the records of its stages.

    `finished` has the points that can be compared with the untrained student, and `missing` the others that the trial
    runs. `undecided`: which points follow depends on a stage that is not done. `complete`: nothing is left to run.
    """

    finished: list[EvaluationPoint]
    missing: list[EvaluationPoint]
    undecided: bool
    complete: bool


class _NotDone(Exception):
    """The facts of a stage were asked for that has no record yet."""


def points_to_run(trial: Trial, study: Study, facts: Facts) -> Iterator[EvaluationPoint]:
    """The points of a trial. The next one is determined when the one before it is finished.

    All of them, budgets upwards; or those that the search of the recovery chooses. `facts` reads those of a stage,
    which is then finished.
    """
    search = study.recoveries[trial.recovery].search if trial.recovery else None
    if search is None:
        yield from trial.points
        return

    def accuracy(stage: Stage) -> float:
        return facts(stage)["accuracy"]

    yield from (point for point in trial.points if point.step is not None)
    by_budget = {point.budget: point for point in trial.points if point.step is None}
    budgets = [budget for budget in by_budget if budget]
    shares: dict[int, float] = {}
    while (budget := next_budget(budgets, shares, search.recovered)) is not None:
        yield by_budget[budget]
        before = accuracy(trial.untrained_scores[search.benchmark])
        after = accuracy(by_budget[budget].scores[search.benchmark])
        shares[budget] = after / before if before else 1.0


def progress_of(trial: Trial, study: Study, records: Mapping[Stage, dict[str, Any]]) -> Progress:
    """What a trial has done, by the records of its stages."""

    def facts(stage: Stage) -> Mapping[str, Any]:
        if stage not in records:
            raise _NotDone
        return records[stage]["facts"]

    finished: list[EvaluationPoint] = []
    missing: list[EvaluationPoint] = []
    undecided = False
    try:
        for point in points_to_run(trial, study, facts):
            compared_with = (trial.untrained_scores[benchmark] for benchmark in point.scores)
            done = all(stage in records for stage in (*point.stages(), *compared_with))
            (finished if done else missing).append(point)
    except _NotDone:
        undecided = True
    has_references = all(stage in records for stage in trial.references())
    complete = has_references and not missing and not undecided
    return Progress(finished=finished, missing=missing, undecided=undecided, complete=complete)


def completed_points(
    trial: Trial, study: Study, records: Mapping[Stage, dict[str, Any]]
) -> list[EvaluationPoint] | None:
    """The points that a finished trial has run, by the records of its stages; None for an unfinished trial."""
    progress = progress_of(trial, study, records)
    return progress.finished if progress.complete else None
