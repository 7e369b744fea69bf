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
    """One evaluation graded again. `changed` has the id, the newest stored grade and the new one of each example in
    which they differ, None for a grade if the example is skipped; it is None if these completions have no stored
    grades."""

    stage: Stage
    n: int
    changed: list[tuple[str, Graded | None, Graded | None]] | None


def regrade(plan: Plan, store: Store) -> Iterator[Regraded]:
    """Grade every sample of a benchmark in the store. Tasks of lm-eval are left out: it grades while it samples."""
    records = store.records(plan.stages)
    newest: dict[tuple, tuple[str, dict]] = {}
    for address, record in sorted(store.records_of_kind("evaluate").items(), key=lambda one: one[1]["started"]):
        settings = record["identity"]["settings"]
        skips = evaluate.SKIPS in (settings["grader"] or {})
        newest[record["inputs"]["generations"], settings["score"], skips] = address, record
    for stage in plan.stages:
        if stage.kind != "evaluate" or stage.inputs["generations"] not in records or stage.settings.grader is None:
            continue
        with scratch_folder() as folder:
            evaluate.run(StageContext(stage, store, folder, _no_engine))
            now = {one.id: one for one in evaluate.grades_of(folder)}
        skips = evaluate.SKIPS in stage.settings.grader
        known = newest.get((stage.inputs["generations"].address, stage.settings.score, skips))
        if known is None:
            yield Regraded(stage=stage, n=len(now), changed=None)
            continue
        then = {one.id: one for one in evaluate.grades_of(store.folder(*known))}
        changed = [(id, then.get(id), now.get(id)) for id in {**then, **now} if then.get(id) != now.get(id)]
        yield Regraded(stage=stage, n=len(now), changed=changed)


def _no_engine(*_: object) -> Iterator:
    raise AssertionError("grading needs no engine")
