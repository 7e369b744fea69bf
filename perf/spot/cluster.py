"""Spot nodes in simulated time: when they are lost, how long a new one takes, and what is placed on them.

Each of the places for a node has a Poisson process of preemptions. It is drawn before the run, so that all schedulers
meet the same ones. After a preemption the place stays empty for an exponential time, and a new node then boots.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from orchestrator.run.allocation import Amount

HOUR = 3600.0
Strategy = Literal["spread", "hybrid"]
CPUS_OF_GPU = 24
HORIZON = 30 * 24 * HOUR  # longer than any run


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Times are in seconds. `between`: the mean time between two preemptions of a node; infinite on demand. `notice`:
    how long before a preemption it is known, 0 for no notice."""

    nodes: int = 8
    gpus_of_node: int = 8
    boot: float = 600.0
    refill: float = 300.0  # the mean time until the cloud has another node
    idle: float = 1200.0  # after which the autoscaler ends a node
    between: float = 12 * HOUR
    notice: float = 120.0

    @property
    def gpus(self) -> float:
        return self.nodes * self.gpus_of_node

    @property
    def of_node(self) -> Amount:
        return Amount(cpus=CPUS_OF_GPU * self.gpus_of_node, gpus=self.gpus_of_node)


@dataclass(frozen=True, kw_only=True)
class Preemption:
    place: int
    time: float
    until: float  # when the place can have a node again


def preemptions_of(cluster: Cluster, seed: int) -> list[Preemption]:
    """All preemptions, in order of time."""
    if not np.isfinite(cluster.between):
        return []
    rng = np.random.default_rng(seed)
    found = []
    for place in range(cluster.nodes):
        n = int(2 * HORIZON / cluster.between) + 100
        times = np.cumsum(rng.exponential(cluster.between, n))
        waits = rng.exponential(cluster.refill, n)
        found += [
            Preemption(place=place, time=float(time), until=float(time + wait))
            for time, wait in zip(times, waits, strict=True)
            if time < HORIZON
        ]
    return sorted(found, key=lambda each: each.time)


@dataclass(kw_only=True)
class Node:
    """`held`: by key of what runs there, the number of its processes."""

    place: int
    launched: float
    up: float
    of_node: Amount
    ready: bool = False
    draining: bool = False
    idle_since: float = 0.0
    held: dict[object, tuple[int, Amount]] = field(default_factory=dict)

    @property
    def free(self) -> Amount:
        left = self.of_node
        for n, amount in self.held.values():
            left -= amount.times(n)
        return left

    def room(self, amount: Amount) -> int:
        """How many processes of this size fit, as a node that is about to go takes nothing."""
        if not self.ready or self.draining:
            return 0
        free = self.free
        by_gpus = free.gpus / amount.gpus if amount.gpus else float("inf")
        by_cpus = free.cpus / amount.cpus if amount.cpus else float("inf")
        return int(min(by_gpus, by_cpus) + 1e-9)


def place_on(nodes: Sequence[Node], amount: Amount, processes: int, how: Strategy) -> dict[int, int] | None:
    """How many processes each place gets, or None if they do not fit: on one node if they fit there, else on several.

    Of the nodes with room, `spread` (Serve's replicas) takes the emptiest, and `hybrid` (Ray's tasks) the first that is
    less than half full, else the emptiest. Ray chooses at random among some of the best.
    """
    rooms = {node.place: node.room(amount) for node in nodes}
    fitting = [node for node in nodes if rooms[node.place] >= processes]
    if fitting:
        return {min(fitting, key=lambda node: _order(node, how)).place: processes}
    found, left = {}, processes
    for place, room in sorted(rooms.items(), key=lambda each: -each[1]):
        if room and left:
            found[place] = min(room, left)
            left -= found[place]
    return None if left else found


def _order(node: Node, how: Strategy) -> tuple[float, int]:
    used = 1 - node.free.gpus / node.of_node.gpus
    if how == "hybrid":
        used = max(used, 0.5)
    return used, node.place


def nodes_for(bundles: Iterable[Amount], of_node: Amount) -> int:
    """How many nodes hold these, each on one node: the largest first, on the first node with room."""
    rooms: list[Amount] = []
    for bundle in sorted(bundles, key=lambda each: (-each.gpus, -each.cpus)):
        for i, room in enumerate(rooms):
            if bundle.fits(room):
                rooms[i] = room - bundle
                break
        else:
            rooms.append(of_node - bundle)
    return len(rooms)
