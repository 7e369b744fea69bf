"""Which parts of a plan are done."""

from dataclasses import dataclass
from typing import Any

from orchestrator.plan.points import completed_points
from orchestrator.plan.trial import Plan
from orchestrator.store.stage import Stage
from orchestrator.store.store import Store


@dataclass(frozen=True)
class State:
    """The records of the finished stages of a plan, and the indices of its unfinished trials."""

    records: dict[Stage, dict[str, Any]]
    pending: list[int]


def state_of(plan: Plan, store: Store) -> State:
    records = store.records(plan.stages)
    pending = [i for i, trial in enumerate(plan.trials) if completed_points(trial, plan.study, records) is None]
    return State(records, pending)
