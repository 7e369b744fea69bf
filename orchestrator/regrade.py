"""Grading stored answers again, by the code as it is, without sampling any."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.execute import perform
from orchestrator.plan import Plan
from orchestrator.stage import Stage
from orchestrator.stages import evaluate
from orchestrator.store import Store
from orchestrator.work import Work


@dataclass(frozen=True)
class Regraded:
    """One evaluation graded again. `changed` has, for each example of another score, its id and the scores before and
    now; it is None where there were no grades to compare with, which there are now."""

    stage: Stage
    n: int
    changed: list[tuple[str, float, float]] | None


def regrade(plan: Plan, store: Store) -> Iterator[Regraded]:
    """Grade every sample of a benchmark that the store has. Grades that are there already are compared, and stay."""
    records = store.records(plan.stages)
    for stage in plan.stages:
        if stage.kind != "evaluate" or stage.inputs["answers"] not in records:
            continue
        if stage not in records:
            perform(stage, store, "regrade")
            record = store.record(stage)
            assert record is not None
            yield Regraded(stage, record["facts"]["n"], None)
            continue
        with tempfile.TemporaryDirectory() as folder:
            evaluate.run(Work(stage, store, Path(folder), _nobody))
            now = evaluate.grades_of(Path(folder))
        before = evaluate.grades_of(store.folder(stage.address, records[stage]))
        changed = [(a.id, a.score, b.score) for a, b in zip(before, now, strict=True) if a.score != b.score]
        yield Regraded(stage, len(now), changed)


def _nobody(*_: object) -> Iterator:
    raise AssertionError("grading asks no model")
