"""The evaluation points of a trial, in the order in which it runs them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.plan.bisection import next_budget
from orchestrator.plan.trial import EvaluationPoint, Trial
from orchestrator.stages.transform import complete_rows
from orchestrator.store.stage import Stage
from orchestrator.study.schema import Study

Facts = Callable[[Stage], Mapping[str, Any] | None]  # those in a stage's record; None if it is not done


@dataclass(frozen=True, kw_only=True)
class ShortBudget:
    """A budget of more samples than the `complete` ones. `shrunk`: its point takes all of these; else it is skipped."""

    trial: str
    recovery: str
    budget: int
    complete: int
    shrunk: bool

    def __str__(self) -> str:
        done = f"shrunk to {self.complete}" if self.shrunk else "skipped"
        return (
            f"recoveries.{self.recovery}: budget {self.budget} is {done}, since only {self.complete} samples are "
            f"complete (neither truncated nor failed)"
        )


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What a trial has done so far, by the records of its stages.

    `finished` has the points that can be compared with the untrained student, and `missing` those that are left to run;
    of a search, the next one. `short` has the budgets of more samples than there are. `complete`: nothing is left.
    """

    finished: list[EvaluationPoint]
    missing: list[EvaluationPoint]
    short: list[ShortBudget]
    complete: bool


def points_to_run(trial: Trial, study: Study, facts: Facts) -> Iterator[EvaluationPoint | ShortBudget]:
    """The points of a trial. The next one is determined when the one before it is finished.

    All of them, budgets upwards; or those that the search of the recovery chooses, up to one that is not done. Short
    budgets come before all others, as soon as the samples exist; while they do not, no budget is short.
    """
    yield from (point for point in trial.points if not point.budget)
    budgets = [point for point in trial.points if point.budget]
    search = study.recoveries[trial.recovery].search if trial.recovery else None
    if search is None:
        yield from _within_data(trial, study, budgets, facts)
        return

    def share(point: EvaluationPoint) -> float | None:
        before, after = facts(trial.untrained_scores[search.benchmark]), facts(point.scores[search.benchmark])
        if before is None or after is None:
            return None
        return after["accuracy"] / before["accuracy"] if before["accuracy"] else 1.0

    at_start = share(next(point for point in trial.points if not point.budget and point.step is None))
    if at_start is None:
        return
    shares = {0: at_start}
    if next_budget([point.budget for point in budgets], shares, search.recovered) is None:
        return  # The samples of the budgets are not needed.
    possible: dict[int, EvaluationPoint] = {}
    for one in _within_data(trial, study, budgets, facts):
        if isinstance(one, ShortBudget):
            yield one
        else:
            possible[one.budget] = one
    while (budget := next_budget(list(possible), shares, search.recovered)) is not None:
        yield possible[budget]
        reached = share(possible[budget])
        if reached is None:
            return
        shares[budget] = reached


def _within_data(
    trial: Trial, study: Study, points: Iterable[EvaluationPoint], facts: Facts
) -> Iterator[EvaluationPoint | ShortBudget]:
    """The short ones among these budgets, upwards, and then the points of those that can run."""
    possible: list[EvaluationPoint] = []
    for point in points:
        complete = _samples(point, facts)
        if complete is None or point.budget <= complete:
            possible.append(point)
            continue
        largest = max((one.budget for one in possible), default=0)
        shrunk = study.recoveries[trial.recovery].too_few_samples == "shrink" and complete > largest
        if shrunk:
            possible.append(replace(point, budget=complete))
        yield ShortBudget(
            trial=trial.key, recovery=trial.recovery, budget=point.budget, complete=complete, shrunk=shrunk
        )
    yield from possible


def _samples(point: EvaluationPoint, facts: Facts) -> int | None:
    """How many complete samples there are for a budget; None if it does not count samples, or they do not exist yet."""
    student = point.student
    if student is None or student.kind != "train" or student.settings.rows != point.budget:
        return None
    if "data" not in student.inputs:  # The student samples during its training.
        return None
    found = facts(student.inputs["data"])
    return None if found is None else complete_rows(student.inputs["data"], found)


def progress_of(trial: Trial, study: Study, records: Mapping[Stage, dict[str, Any]]) -> Progress:
    """What a trial has done, by the records of its stages."""

    def facts(stage: Stage) -> Mapping[str, Any] | None:
        return records[stage]["facts"] if stage in records else None

    finished: list[EvaluationPoint] = []
    missing: list[EvaluationPoint] = []
    short: list[ShortBudget] = []
    for one in points_to_run(trial, study, facts):
        if isinstance(one, ShortBudget):
            short.append(one)
            continue
        compared_with = (trial.untrained_scores[benchmark] for benchmark in one.scores)
        done = all(stage in records for stage in (*one.stages(), *compared_with))
        (finished if done else missing).append(one)
    complete = not missing and all(stage in records for stage in trial.references())
    return Progress(finished=finished, missing=missing, short=short, complete=complete)


def completed_points(
    trial: Trial, study: Study, records: Mapping[Stage, dict[str, Any]]
) -> list[EvaluationPoint] | None:
    """The points that a finished trial has run, by the records of its stages; None for an unfinished trial."""
    progress = progress_of(trial, study, records)
    return progress.finished if progress.complete else None
