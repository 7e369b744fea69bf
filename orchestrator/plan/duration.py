"""When the stages of a run begin and end on a number of GPUs, by list scheduling of their estimated hours."""

import heapq
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter

from orchestrator.plan.gpu_hours import GpuHours, on_gpus
from orchestrator.plan.work import gpus_of
from orchestrator.store.stage import Stage
from orchestrator.study.schema import Study

GPUS = (1, 2, 4, 8)


def expected(pending: Collection[Stage], study: Study, costs: GpuHours) -> Iterator[str]:
    """A line with the expected duration on 1, 2, 4 and 8 GPUs, for a study that uses them."""
    if not on_gpus(study) or not costs.by_stage:
        return
    hours, width = hours_and_gpus(study, costs)
    cap = study.resources.gpus or max(GPUS)
    fitting = [n for n in GPUS if max(width.values()) <= n <= cap]
    parts = [f"{in_words(duration(pending, hours, width, n))} on {n}" for n in fitting]
    if parts:
        yield f"Expected time: {', '.join(parts)} GPU{'s' * (fitting[-1] > 1)}, without starts of engines and gradings."


def hours_and_gpus(study: Study, costs: GpuHours) -> tuple[dict[Stage, float], dict[Stage, int]]:
    """How long each stage takes, and on how many GPUs, by stage."""
    width = {stage: gpus_of(stage, study) for stage in costs.by_stage}
    return {stage: each / width[stage] for stage, each in costs.by_stage.items()}, width


@dataclass(frozen=True, kw_only=True)
class Span:
    """When a stage runs, in hours from the start of the run, and on how many GPUs."""

    start: float
    end: float
    gpus: int


def duration(pending: Collection[Stage], hours: Mapping[Stage, float], width: Mapping[Stage, int], gpus: int) -> float:
    """The hours until all stages are done; see `schedule`."""
    return max((span.end for span in schedule(pending, hours, width, gpus)), default=0.0)


def schedule(
    pending: Collection[Stage], hours: Mapping[Stage, float], width: Mapping[Stage, int], gpus: int
) -> list[Span]:
    """When stages run, in the order of their starts, if at each moment the one with the longest chain behind it begins
    first.

    A stage without hours takes no time. An engine that runs several stages at once takes as long as for one after the
    other, since full batches are assumed.
    """
    inputs = {stage: [*stage.inputs.values(), stage.runtime.published_by] for stage in pending}
    needed = {stage: {one for one in each if one in inputs} for stage, each in inputs.items()}
    order = list(TopologicalSorter(needed).static_order())
    followers: dict[Stage, list[Stage]] = {stage: [] for stage in order}
    for stage, each in needed.items():
        for one in each:
            followers[one].append(stage)
    missing = {stage: len(each) for stage, each in needed.items()}
    behind: dict[Stage, float] = {}
    for stage in reversed(order):
        behind[stage] = hours.get(stage, 0.0) + max((behind[one] for one in followers[stage]), default=0.0)
    place = {stage: i for i, stage in enumerate(order)}
    taken = {stage: width[stage] if hours.get(stage) else 0 for stage in order}
    ready = [(-behind[stage], place[stage]) for stage in order if not missing[stage]]
    heapq.heapify(ready)
    running: list[tuple[float, int]] = []
    now, free, spans = 0.0, gpus, list[Span]()
    while ready or running:
        while ready and taken[order[ready[0][1]]] <= free:
            _, i = heapq.heappop(ready)
            free -= taken[order[i]]
            end = now + hours.get(order[i], 0.0)
            spans.append(Span(start=now, end=end, gpus=taken[order[i]]))
            heapq.heappush(running, (end, i))
        now, i = heapq.heappop(running)
        free += taken[order[i]]
        for one in followers[order[i]]:
            missing[one] -= 1
            if not missing[one]:
                heapq.heappush(ready, (-behind[one], place[one]))
    return spans


def in_words(hours: float) -> str:
    if hours >= 1:
        return f"{hours:,.0f} h" if hours >= 10 else f"{hours:.2g} h"
    return f"{max(1, round(hours * 60))} min"
