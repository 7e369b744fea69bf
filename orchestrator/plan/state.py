"""What of a plan is done."""

from dataclasses import dataclass
from typing import Any

from orchestrator.plan.points import completed_points
from orchestrator.plan.trial import Plan
from orchestrator.store.stage import Stage
from orchestrator.store.store import Store


@dataclass(frozen=True)
class State:
    """What of a plan is done: the records of its finished stages, and the trials that are not finished."""

    records: dict[Stage, dict[str, Any]]
    pending: list[int]


def state_of(plan: Plan, store: Store) -> State:
    records = store.records(plan.stages)
    pending = [i for i, trial in enumerate(plan.trials) if completed_points(trial, plan.study, records) is None]
    return State(records, pending)
