"""Which parts of a plan are done."""

from dataclasses import dataclass
from typing import Any

from orchestrator.plan.points import ShortBudget, progress_of
from orchestrator.plan.trial import Plan
from orchestrator.store.stage import Stage
from orchestrator.store.store import Store


@dataclass(frozen=True)
class State:
    """The records of the finished stages of a plan, the indices of its unfinished trials, and the budgets of more
    samples than there are, as far as the samples exist."""

    records: dict[Stage, dict[str, Any]]
    pending: list[int]
    short: list[ShortBudget]


def state_of(plan: Plan, store: Store) -> State:
    records = store.records(plan.stages)
    progress = [progress_of(trial, plan.study, records) for trial in plan.trials]
    pending = [i for i, one in enumerate(progress) if not one.complete]
    return State(records, pending, [short for one in progress for short in one.short])
