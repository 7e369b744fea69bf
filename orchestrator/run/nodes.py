"""How long the nodes of a cluster were there during a run, and for how much of that a node had nothing to do."""

from collections.abc import Mapping
from dataclasses import dataclass

from evaluators.imports import IMPORTS


@dataclass(frozen=True, kw_only=True)
class Node:
    """`type`: its name in the autoscaler's configuration. `idle`: whether all of its CPUs and GPUs are free, None if it
    has neither, as a head that only has drivers."""

    type: str
    idle: bool | None


@dataclass(frozen=True, kw_only=True)
class NodeUse:
    """The nodes of one type: seconds of all of them together, and the most at once."""

    seconds: float = 0.0
    idle_seconds: float | None = None  # None if they have nothing to be used
    most: int = 0


class NodeTimes:
    """Adds up what each look at the nodes finds."""

    def __init__(self) -> None:
        self.uses: dict[str, NodeUse] = {}
        self._last: float | None = None

    def look(self, nodes: list[Node], now: float) -> None:
        """Count the time since the last look for the nodes that there are now; `now` is in seconds."""
        since = 0.0 if self._last is None else now - self._last
        self._last = now
        for type in dict.fromkeys(node.type for node in nodes):
            mine, before = [node for node in nodes if node.type == type], self.uses.get(type, NodeUse())
            idle = before.idle_seconds
            if any(node.idle is not None for node in mine):
                idle = (idle or 0.0) + since * sum(bool(node.idle) for node in mine)
            self.uses[type] = NodeUse(
                seconds=before.seconds + since * len(mine), idle_seconds=idle, most=max(before.most, len(mine))
            )


def nodes_of_the_cluster() -> list[Node]:
    """The nodes that there are now."""
    import ray

    with IMPORTS:
        from ray._private.state import available_resources_per_node  # a developer API, without a public name

    free = available_resources_per_node()
    return [
        Node(type=node["Labels"].get("ray.io/node-group") or "node", idle=is_idle(node["Resources"], free[id]))
        for node in ray.nodes()
        if node["Alive"] and (id := node["NodeID"]) in free
    ]


def is_idle(there: Mapping[str, float], free: Mapping[str, float]) -> bool | None:
    counted = [name for name in ("CPU", "GPU") if there.get(name)]
    return all(free.get(name, 0.0) == there[name] for name in counted) if counted else None
