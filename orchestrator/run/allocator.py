"""The actor that decides what runs on the resources of a run, and how its callers ask it (allocation.py decides).

A trial asks for the resources of each of its stages before it takes the stage's lease. Serve asks how many replicas an
engine shall have, through a policy of its autoscaler.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from orchestrator.run.allocation import Allocation, Amount, Task
from orchestrator.run.engine_lifetime import NAMESPACE, ON_HEAD
from orchestrator.store.stage import Stage

LOOK_SECONDS = 2.0  # between two looks at whether the cluster has grown, while something waits
ANSWER_SECONDS = 1.0  # that Serve's controller waits for an answer, since it waits for nothing else meanwhile
Key = tuple[str, str]  # of a use: the trial, and the address of the stage


class Allocator:
    """Runs as a Ray actor, in one thread with an event loop."""

    def __init__(self, engines: Mapping[str, tuple[Amount, int]]):
        self._allocation = Allocation(_there_is(), engines)
        self._changed = asyncio.Condition()

    async def use_engine(self, key: Key, engine: str) -> None:
        """Wait until an engine has a replica, which stays until `release`. A model behind an API needs none."""
        if engine in self._allocation.pools:
            self._allocation.use(key, engine)
            pool = self._allocation.pools[engine]
            await self._until(lambda: pool.replicas > 0 or key not in pool.uses)

    async def begin_task(self, key: Key, task: Task) -> None:
        """Wait until a task has its resources, which it holds until `release`."""
        self._allocation.request(key, task)
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

    async def _until(self, ready: Callable[[], bool]) -> None:
        await self._decide()
        while not ready():
            try:
                async with self._changed:
                    await asyncio.wait_for(self._changed.wait(), LOOK_SECONDS)
            except TimeoutError:
                self._allocation.capacity = _there_is()
                await self._decide()

    async def _decide(self) -> None:
        self._allocation.decide(time.monotonic())
        async with self._changed:
            self._changed.notify_all()


def _there_is() -> Amount:
    """What the cluster has now."""
    import ray

    there = ray.cluster_resources()
    return Amount(cpus=there.get("CPU", 0.0), gpus=there.get("GPU", 0.0))


def start_allocator(run: str, engines: Mapping[str, tuple[Amount, int]]) -> Any:
    """The handle of a run's new `Allocator` actor."""
    import ray

    options = {"name": _name(run), "namespace": NAMESPACE, "num_cpus": 0, "resources": ON_HEAD}
    return ray.remote(Allocator).options(**options).remote(engines)


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
                self._allocator = ray.get_actor(_name(self._run), NAMESPACE)
            return ray.get(self._allocator.replicas.remote(self._engine), timeout=ANSWER_SECONDS), {}
        except (ValueError, ray.exceptions.RayError):  # The run has ended, or the machine is busy.
            return context.target_num_replicas, {}


@contextmanager
def resources_of(stage: Stage, trial: str, allocator: Any) -> Iterator[None]:
    """Wait for what a stage needs, and hold it: a replica of its engine, or the resources of its task."""
    import ray

    key, runtime = (trial, stage.address), stage.runtime
    try:
        if runtime.cpus is not None:
            cpus, gpus = runtime.total
            task = Task(needs=Amount(cpus=cpus, gpus=gpus), engine=runtime.engine if runtime.uses_engine else None)
            ray.get(allocator.begin_task.remote(key, task))
        elif runtime.uses_engine:
            ray.get(allocator.use_engine.remote(key, runtime.engine))
        yield
    finally:
        allocator.release.remote(key)
