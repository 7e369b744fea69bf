"""The actor that decides what runs on the resources of a run, and how its callers ask it (allocation.py decides).

A trial asks for the resources of each of its stages before it takes the stage's lease. Serve asks how many replicas an
engine shall have, through a policy of its autoscaler.
"""

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from orchestrator.run.allocation import Allocation, Amount, Replicas, Task
from orchestrator.run.demand import ask
from orchestrator.run.engine_lifetime import NAMESPACE, ON_HEAD
from orchestrator.run.nodes import NodeTimes, NodeUse, nodes_of_the_cluster
from orchestrator.run.spread import PART, PARTS_EACH
from orchestrator.store.stage import Stage

LEAST_MEMORY = 4  # the last level of smaller limits of an engine, each of which halves them
LOOK_SECONDS = 2.0  # between two looks at what the cluster has
ANSWER_SECONDS = 1.0  # that Serve's controller waits for an answer, since it waits for nothing else meanwhile
Key = tuple[str, str]  # of a use: the trial, and the address of the stage


class Allocator:
    """Runs as a Ray actor, in one thread with an event loop."""

    def __init__(
        self,
        run: str,
        engines: Mapping[str, Replicas],
        most: Amount,
        waiting: Mapping[str, int],
        may_grow: bool,
    ):
        """`most`: what the run uses at most of what the cluster has. `waiting`: how many trials need a stage, by its
        address. `may_grow`: whether an autoscaler may add nodes, and end them."""
        self._run, self._most, self._waiting, self._may_grow = run, most, waiting, may_grow
        self._allocation = Allocation(_there_is().at_most(most), engines)
        self._changed = asyncio.Condition()
        self._memory_levels: dict[str, int] = defaultdict(int)
        self._looking: asyncio.Task | None = None
        self._nodes = NodeTimes()

    async def use_engine(self, key: Key, engine: str) -> None:
        """Wait until an engine has a replica, which stays until `release`. A model behind an API needs none."""
        if engine in self._allocation.pools:
            self._allocation.use(key, engine)
            pool = self._allocation.pools[engine]
            await self._until(lambda: pool.replicas > 0 or key not in pool.uses)

    async def begin_task(self, key: Key, task: Task) -> None:
        """Wait until a task has its resources, which it holds until `release`. What most trials need begins first."""
        self._allocation.request(key, replace(task, urgency=self._waiting.get(key[1], 0)))
        await self._until(lambda: key not in self._allocation.waiting)

    async def release(self, *keys: Key) -> None:
        """End uses, or give them up."""
        for key in keys:
            self._allocation.release(key)
        await self._decide()

    async def forget(self, trial: str) -> None:
        """End all uses of a trial, whose process may have been lost."""
        keys = [*self._allocation.waiting, *self._allocation.running]
        keys += [key for pool in self._allocation.pools.values() for key in pool.uses]
        await self.release(*(key for key in keys if key[0] == trial))

    async def replicas(self, engine: str) -> int:
        return self._allocation.pools[engine].replicas

    async def enlarge(self, key: Key, engine: str, replicas: int) -> int:
        """Note that a use has work for that many replicas; returns the most that the engine may have."""
        pool = self._allocation.pools.get(engine)
        if pool is None:  # a model behind an API
            return 1
        if key in pool.uses:
            pool.uses[key] = replicas
            await self._decide()
        return pool.may.most

    async def memory_level(self, engine: str) -> int:
        return self._memory_levels[engine]

    async def take_less_memory(self, engine: str) -> int:
        """Note that an engine ran out of memory; returns the level with which it starts next."""
        self._memory_levels[engine] = min(self._memory_levels[engine] + 1, LEAST_MEMORY)
        return self._memory_levels[engine]

    async def node_uses(self) -> dict[str, NodeUse]:
        """How the run has used the nodes so far, by their type. Empty on a cluster that cannot grow."""
        return self._nodes.uses

    async def _until(self, ready: Callable[[], bool]) -> None:
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        await self._decide()
        while not ready():
            async with self._changed:
                await self._changed.wait()
            if self._looking.done():
                self._looking.result()  # Raises what has ended it.

    async def _look(self) -> None:
        """From time to time, look at what the cluster has, and ask its autoscaler for what the run needs."""
        try:
            while True:
                self._allocation.capacity = _there_is().at_most(self._most)
                await self._decide()
                if self._may_grow:
                    self._nodes.look(nodes_of_the_cluster(), time.monotonic())
                    ask(self._run, self._allocation.wanted_of(self._most))
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            async with self._changed:
                self._changed.notify_all()

    async def _decide(self) -> None:
        self._allocation.decide(time.monotonic())
        async with self._changed:
            self._changed.notify_all()


def _there_is() -> Amount:
    """What the cluster has now."""
    import ray

    there = ray.cluster_resources()
    return Amount(cpus=there.get("CPU", 0.0), gpus=there.get("GPU", 0.0))


def start_allocator(
    run: str,
    engines: Mapping[str, Replicas],
    most: Amount,
    waiting: Mapping[str, int],
    may_grow: bool = False,
) -> Any:
    """The handle of a run's new `Allocator` actor."""
    import ray

    options = {"name": _name(run), "namespace": NAMESPACE, "num_cpus": 0, "resources": ON_HEAD}
    return ray.remote(Allocator).options(**options).remote(run, engines, most, waiting, may_grow)


def allocator_of(run: str) -> Any:
    """The handle of a run's allocator."""
    import ray

    return ray.get_actor(_name(run), NAMESPACE)


def _name(run: str) -> str:
    return f"{NAMESPACE}-{run}-allocator"


class ReplicasOf:
    """The autoscaling policy of an engine's deployment: as many replicas as the run's allocator gives it."""

    def __init__(self, run: str, engine: str):
        self._run, self._engine = run, engine
        self._allocator: Any = None

    def __call__(self, context: Any) -> tuple[int, dict]:
        import ray

        try:  # Serve's controller calls this several times a second.
            if self._allocator is None:
                self._allocator = allocator_of(self._run)
            return ray.get(self._allocator.replicas.remote(self._engine), timeout=ANSWER_SECONDS), {}
        except (ValueError, ray.exceptions.RayError):  # The run has ended, or the machine is busy.
            return context.target_num_replicas, {}


def key_of(stage: Stage, trial: str) -> Key:
    return trial, stage.address


def replicas_for(run: str, key: Key, engine: str, requests: int) -> Callable[[], int] | None:
    """Ask for as many replicas as that many requests fill. Returns how to read the number of those that there are, or
    None if one is enough, or if there cannot be more."""
    import ray

    full = math.ceil(requests / (PART * PARTS_EACH))
    if requests <= PART:
        return None
    allocator = allocator_of(run)
    if ray.get(allocator.enlarge.remote(key, engine, full)) == 1:
        return None
    return lambda: ray.get(allocator.replicas.remote(engine))


@contextmanager
def resources_of(stage: Stage, trial: str, allocator: Any) -> Iterator[None]:
    """Wait for what a stage needs, and hold it: a replica of its engine, or the resources of its task."""
    import ray

    key, runtime = key_of(stage, trial), stage.runtime
    try:
        if runtime.cpus is not None:
            (cpus, gpus), processes = runtime.total, runtime.processes
            task = Task(
                process=Amount(cpus=cpus / processes, gpus=gpus / processes),
                processes=processes,
                engine=runtime.engine if runtime.uses_engine else None,
            )
            ray.get(allocator.begin_task.remote(key, task))
        elif runtime.uses_engine:
            ray.get(allocator.use_engine.remote(key, runtime.engine))
        yield
    finally:
        allocator.release.remote(key)
