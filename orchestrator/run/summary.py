"""The summary at the end of a run: executed stages, failures, and how the wall time was used."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping

from rich.console import Console
from rich.markup import escape

from orchestrator.plan.trial import Plan
from orchestrator.run.driver import Outcome
from orchestrator.run.nodes import NodeUse
from orchestrator.run.progress import duration, time_split

ON_ENGINES = ("sample", "logprobs")  # kinds of stages that wait for an engine


def show_summary(console: Console, plan: Plan, outcome: Outcome, began: float) -> None:
    """Print executed and distinct stages by kind, failed trials, and the wall time by kind of work."""
    ran = Counter(event.kind for event in outcome.events if event.what == "finished")
    if outcome.events:
        distinct = Counter(stage.kind for stage in plan.stages)
        console.print(
            "Executed: " + ", ".join(f"{ran[kind]} {kind}" for kind in distinct)
            + " (of " + ", ".join(f"{n}" for n in distinct.values()) + " distinct)"
        )  # fmt: skip
    for event in outcome.failed:
        trial, address, message = map(escape, (event.trial, event.address, event.message))
        if event.what == "not run":
            console.print(f"[yellow]{trial} not run[/yellow]: needs {address}, which failed", soft_wrap=True)
        else:
            console.print(f"[red]{trial} failed[/red]: {address}: {message}", soft_wrap=True)
    end = time.time()
    split = time_split(_intervals(outcome), began, end)
    parts = sorted(split.items(), key=lambda part: part[0] == "orchestration")
    shares = ", ".join(f"{kind} {seconds:.1f} s ({seconds / (end - began):.0%})" for kind, seconds in parts)
    console.print(f"Wall time {duration(end - began)}: {shares}", soft_wrap=True)
    if outcome.nodes:
        console.print(f"Nodes during the run: {'; '.join(_nodes(outcome.nodes))}", soft_wrap=True, markup=False)


def _nodes(uses: Mapping[str, NodeUse]) -> Iterator[str]:
    for type, use in uses.items():
        idle = "" if use.idle_seconds is None else f", {use.idle_seconds / max(use.seconds, 1e-9):.0%} of it idle"
        yield f"{use.most} {type} at most, {use.seconds / 3600:.2g} node hours{idle}"


def _intervals(outcome: Outcome) -> list[tuple[str, float, float]]:
    """When work of each kind ran. A stage that waits for an engine to start begins when it has started."""
    starts = [(event.started, event.started + event.seconds) for event in outcome.events if event.what == "engine"]
    intervals = [("start engines", *start) for start in starts]
    for event in outcome.events:
        if event.what == "finished":
            begin, end = event.started, event.started + event.seconds
            if event.kind in ON_ENGINES:
                begin = max([begin, *(ready for began, ready in starts if began <= begin < ready <= end)])
            intervals.append((event.kind, begin, end))
    return [*intervals, ("report", *outcome.reporting)]
