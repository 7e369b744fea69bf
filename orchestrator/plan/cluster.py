"""What a run needs of a cluster that grows and shrinks: its time and node hours, from the file that Ray's cluster
launcher reads.

Stages fill the nodes with the lowest numbers. A node is there from its start until it has been idle for the cluster's
idle timeout.
"""

import heapq
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from orchestrator.plan.duration import Span, hours_and_gpus, in_words, schedule
from orchestrator.plan.gpu_hours import GpuHours
from orchestrator.store.stage import Stage
from orchestrator.study.schema import Study

IDLE_MINUTES = 5.0  # Ray's default of idle_timeout_minutes


@dataclass(frozen=True, kw_only=True)
class NodeType:
    """A type of node that the autoscaler may start, at most `most` of it."""

    name: str
    gpus: int
    most: int
    idle_hours: float  # after which a node ends


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """`hours` of the run; `node_hours` of all nodes together, of which some `idle_hours`."""

    hours: float
    node_hours: float
    idle_hours: float
    nodes: int


def node_types(path: Path) -> list[NodeType]:
    """The types with GPUs that a cluster's file has, without its head. Raises ValueError for a file that is none."""
    try:
        config: Any = yaml.safe_load(path.read_text())
        most, head = config.get("max_workers", math.inf), config["head_node_type"]
        idle = config.get("idle_timeout_minutes", IDLE_MINUTES) / 60
        found = [
            NodeType(
                name=name,
                gpus=int(node["resources"].get("GPU", 0)),
                most=min(most, node.get("max_workers", most)),
                idle_hours=idle,
            )
            for name, node in config["available_node_types"].items()
            if name != head
        ]
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        text = str(error).splitlines()[0]
        raise ValueError(
            f"{path}: not the file of a cluster ({type(error).__name__}: {text}): give the file that `ray up` reads, "
            f"with available_node_types and their resources"
        ) from error
    return [one for one in found if one.gpus]


def predict(spans: Collection[Span], type: NodeType, start_hours: float) -> Prediction:
    """What the nodes of a type do if stages run as in `spans`, each node after `start_hours`."""
    by_node = _by_node(spans, type)
    hours = max((span.end for span in spans), default=0.0)
    worked = there = 0.0
    for intervals in by_node:
        for i, (start, end) in enumerate(intervals):
            gap = intervals[i + 1][0] - end if i + 1 < len(intervals) else math.inf
            worked += end - start
            there += end - start + (gap if gap <= type.idle_hours else type.idle_hours + start_hours)
    return Prediction(hours=start_hours + hours, node_hours=there, idle_hours=there - worked, nodes=len(by_node))


def _by_node(spans: Collection[Span], type: NodeType) -> list[list[list[float]]]:
    """The intervals [start, end] in which each node works."""
    found: list[list[list[float]]] = []
    free: list[int] = []  # GPUs by node
    running: list[tuple[float, int, int]] = []  # (end, node, GPUs)
    for span in spans:
        while running and running[0][0] <= span.start:
            _, node, gpus = heapq.heappop(running)
            free[node] += gpus
        left = span.gpus if span.end > span.start else 0
        while left:
            node = _room(left, free, type)
            if node == len(free):
                free.append(type.gpus)
                found.append([])
            taken = min(left, free[node])
            free[node] -= taken
            left -= taken
            heapq.heappush(running, (span.end, node, taken))
            if found[node] and span.start <= found[node][-1][1]:
                found[node][-1][1] = max(found[node][-1][1], span.end)
            else:
                found[node].append([span.start, span.end])
    return found


def _room(gpus: int, free: list[int], type: NodeType) -> int:
    """The first node with room for these GPUs, or for as many as a node has; else a new one; else any with a GPU."""
    whole = [node for node, n in enumerate(free) if n >= min(gpus, type.gpus)]
    if whole or len(free) < type.most:
        return whole[0] if whole else len(free)
    return next(node for node, n in enumerate(free) if n)


def on_cluster(path: Path, pending: Collection[Stage], study: Study, costs: GpuHours) -> Iterator[str]:
    """A line for each type of node with GPUs. Raises ValueError for a file that cannot be read."""
    types = node_types(path)
    if not types:
        raise ValueError(f"{path}: no type of node has GPUs but the head's: give one resources with GPU")
    if not costs.by_stage:
        yield f"On {path.name}: no estimate, since no stage that is left has estimated GPU hours."
        return
    hours, width = hours_and_gpus(study, costs)
    start = study.cost_assumptions.node_start_minutes / 60
    for type in types:
        gpus = int(min(type.gpus * type.most, study.resources.gpus or math.inf))
        if gpus < max(width.values()):
            yield f"On {path.name}: a stage needs {max(width.values())} GPUs, and all {type.name} have {gpus}."
            continue
        found = predict(schedule(pending, hours, width, gpus), type, start)
        yield (
            f"On {path.name}: {in_words(found.hours)} on up to {found.nodes} {type.name}, {found.node_hours:,.3g} node "
            f"hours, {found.idle_hours / found.node_hours:.0%} of them idle or starting ({start * 60:g} min to start, "
            f"{type.idle_hours * 60:g} min until an idle node ends; without starts of engines and gradings)."
        )
