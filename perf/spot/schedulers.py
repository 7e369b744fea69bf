"""Three schedulers of the same interface, that of `orchestrator.run.allocation.Allocation`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from orchestrator.run.allocation import Allocation, Amount, Key, Replicas
from perf.spot.jobs import Engine, Job, Workload


class Pinned(Allocation):
    """First come, first served: nothing overtakes what waits. Each engine keeps its replicas from the first request to
    the end."""

    def decide(self, now: float) -> list[Key]:
        for pool in self.pools.values():
            while pool.used and pool.replicas < pool.may.most and pool.needs.fits(self.free):
                pool.replicas += 1
        return list(self._in_order())

    def wanted_of(self, most: Amount) -> list[Amount]:
        """With the replicas that nothing uses, as they stay."""
        kept = [pool.needs for pool in self.pools.values() for _ in range(pool.replicas - pool.wanted)]
        return [*super().wanted_of(most), *kept]

    def _in_order(self) -> Iterator[Key]:
        for key, task in list(self.waiting.items()):
            if not task.needs.fits(self.free):
                return
            self.running[key] = self.waiting.pop(key)
            yield key


@dataclass(frozen=True, kw_only=True)
class Scheduler:
    """How an allocation is made, the urgency of a job's task, and the most replicas of each engine."""

    name: str
    make: Callable[[Amount, dict[str, Replicas]], Any]
    urgency: Callable[[Job], int]
    replicas: Callable[[Workload, float], dict[str, int]]


def _declared(workload: Workload, gpus: float) -> dict[str, int]:
    return {name: engine.replicas for name, engine in workload.engines.items()}


def _by_work(workload: Workload, gpus: float) -> dict[str, int]:
    """Replicas in proportion to the work of each engine, as one would set them who knows it before. They leave room for
    the largest task."""
    work = dict.fromkeys(workload.engines, 0.0)
    for job in workload.jobs.values():
        if job.engine:
            work[job.engine] += job.seconds * workload.gpus(job)
    largest = max((job.task.needs.gpus for job in workload.jobs.values() if job.task is not None), default=0.0)
    share = min(gpus / workload.gpu_seconds, (gpus - largest) / sum(work.values()))

    def number(name: str, engine: Engine) -> int:
        return max(1, int(work[name] * share / engine.needs.gpus))

    return {name: number(name, engine) for name, engine in workload.engines.items()}


OURS = Scheduler(name="ours", make=Allocation, urgency=lambda job: job.trials, replicas=_declared)
FIRST_COME = Scheduler(name="first come, pinned", make=Pinned, urgency=lambda job: 0, replicas=_by_work)
LONGEST_CHAIN = Scheduler(
    name="longest chain first", make=Allocation, urgency=lambda job: int(job.behind), replicas=_declared
)
SCHEDULERS = (OURS, FIRST_COME, LONGEST_CHAIN)
