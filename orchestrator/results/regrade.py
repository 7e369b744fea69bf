"""Grading stored answers again, by the code as it is, to see what it grades otherwise. Nothing is sampled or stored."""

import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from evaluators.evaluate import Graded
from orchestrator.plan.trial import Plan
from orchestrator.stages import evaluate
from orchestrator.store.context import StageContext
from orchestrator.store.stage import Stage
from orchestrator.store.store import Store


@dataclass(frozen=True)
class Regraded:
    """One evaluation graded again. `changed` has the examples whose grades differ from the newest ones in the store,
    before and now; it is None where these answers have never been graded."""

    stage: Stage
    n: int
    changed: list[tuple[Graded, Graded]] | None


def regrade(plan: Plan, store: Store) -> Iterator[Regraded]:
    """Grade every sample of a benchmark that the store has. Tasks of lm-eval are left out: they grade as they ask."""
    records = store.records(plan.stages)
    before: dict[tuple, list[tuple[float, str, dict]]] = defaultdict(list)
    for address, record in store.records_of_kind("evaluate").items():
        key = (record["inputs"]["generations"], record["identity"]["settings"]["score"])
        before[key].append((record["started"], address, record))
    for stage in plan.stages:
        if stage.kind != "evaluate" or stage.inputs["generations"] not in records:
            continue
        if stage.settings.grader is None:
            continue
        with tempfile.TemporaryDirectory() as folder:
            evaluate.run(StageContext(stage, store, Path(folder), _nobody))
            now = evaluate.grades_of(Path(folder))
        known = before.get((stage.inputs["generations"].address, stage.settings.score))
        if known is None:
            yield Regraded(stage, len(now), None)
            continue
        _, address, record = max(known, key=lambda one: one[0])
        then = evaluate.grades_of(store.folder(address, record))
        yield Regraded(stage, len(now), [(a, b) for a, b in zip(then, now, strict=True) if a != b])


def _nobody(*_: object) -> Iterator:
    raise AssertionError("grading asks no model")
