"""Stored completions graded again by the current code, to see which grades differ. Nothing is sampled or stored."""

from collections.abc import Iterator
from dataclasses import dataclass

from evaluators.evaluate import Graded
from orchestrator.plan.trial import Plan
from orchestrator.stages import evaluate
from orchestrator.store.context import StageContext
from orchestrator.store.stage import Stage
from orchestrator.store.store import Store
from trainers.scratch import scratch_folder


@dataclass(frozen=True, kw_only=True)
class Regraded:
    """One evaluation graded again. `changed` has the newest stored grade and the new one of each example in which they
    differ; it is None if these completions have no stored grades."""

    stage: Stage
    n: int
    changed: list[tuple[Graded, Graded]] | None


def regrade(plan: Plan, store: Store) -> Iterator[Regraded]:
    """Grade every sample of a benchmark in the store. Tasks of lm-eval are left out: it grades while it samples."""
    records = store.records(plan.stages)
    newest: dict[tuple, tuple[str, dict]] = {}
    for address, record in sorted(store.records_of_kind("evaluate").items(), key=lambda one: one[1]["started"]):
        newest[record["inputs"]["generations"], record["identity"]["settings"]["score"]] = address, record
    for stage in plan.stages:
        if stage.kind != "evaluate" or stage.inputs["generations"] not in records or stage.settings.grader is None:
            continue
        with scratch_folder() as folder:
            evaluate.run(StageContext(stage, store, folder, _no_engine))
            now = evaluate.grades_of(folder)
        known = newest.get((stage.inputs["generations"].address, stage.settings.score))
        if known is None:
            yield Regraded(stage=stage, n=len(now), changed=None)
            continue
        then = evaluate.grades_of(store.folder(*known))
        changed = [(old, new) for old, new in zip(then, now, strict=True) if old != new]
        yield Regraded(stage=stage, n=len(now), changed=changed)


def _no_engine(*_: object) -> Iterator:
    raise AssertionError("grading needs no engine")
