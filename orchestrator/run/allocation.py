"""Which tasks of a run begin, and how many replicas each engine has, on the resources that there are.

All engines and tasks of a run share its resources. An engine has replicas while it has work. If something else needs
their resources, idle replicas end: after they have been idle for about as long as a start takes, or at once if nothing
else works. Nothing that works is stopped. So a run finishes as long as each of its parts fits alone.

A training that samples from an engine as it trains is the one part that holds resources while it waits for others. It
begins only together with a replica of that engine, which stays until the training ends.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

Key = Any  # identifies a task, or a use of an engine; hashable
IDLE_SECONDS = 20.0  # Ending an engine for less would cost more than waiting.
UNUSED_SECONDS = 300.0  # after which an idle engine ends though nothing waits for its resources: its node may end then


@dataclass(frozen=True, kw_only=True)
class Amount:
    """CPUs and GPUs, which may be fractions."""

    cpus: float = 0.0
    gpus: float = 0.0

    def __add__(self, other: Self) -> "Amount":
        return Amount(cpus=self.cpus + other.cpus, gpus=self.gpus + other.gpus)

    def __sub__(self, other: Self) -> "Amount":
        return Amount(cpus=self.cpus - other.cpus, gpus=self.gpus - other.gpus)

    def times(self, n: int) -> "Amount":
        return Amount(cpus=self.cpus * n, gpus=self.gpus * n)

    def at_most(self, other: Self) -> "Amount":
        return Amount(cpus=min(self.cpus, other.cpus), gpus=min(self.gpus, other.gpus))

    def fits(self, room: Self) -> bool:
        return self.cpus <= room.cpus + 1e-9 and self.gpus <= room.gpus + 1e-9


@dataclass(frozen=True, kw_only=True)
class Task:
    """A stage that runs as a task of its own, in `processes` that may be on several nodes. `engine`: the one that it
    samples from while it runs."""

    process: Amount
    processes: int = 1
    engine: str | None = None
    urgency: int = 0  # how many trials wait for it

    @property
    def needs(self) -> Amount:
        return self.process.times(self.processes)


@dataclass(frozen=True, kw_only=True)
class Replicas:
    """What a replica of an engine needs, in equal parts that may be on several `nodes`, and the most replicas."""

    needs: Amount
    most: int = 1
    nodes: int = 1

    @property
    def part(self) -> Amount:
        """What a replica needs on each of its nodes."""
        return Amount(cpus=self.needs.cpus / self.nodes, gpus=self.needs.gpus / self.nodes)

    @property
    def parts(self) -> list[Amount]:
        """What a replica needs, each on one node."""
        return [self.part] * self.nodes


@dataclass(kw_only=True)
class Pool:
    """The replicas of one engine."""

    may: Replicas
    replicas: int = 0
    uses: dict[Key, int] = field(default_factory=dict)  # stages that ask it, and how many replicas each can fill
    idle_since: float = 0.0
    pins: int = 0  # running tasks that sample from it

    @property
    def needs(self) -> Amount:
        """What one replica needs."""
        return self.may.needs

    @property
    def used(self) -> bool:
        return bool(self.uses) or self.pins > 0

    @property
    def wanted(self) -> int:
        """How many replicas would have work."""
        return min(self.may.most, sum(self.uses.values()) + self.pins)


class Allocation:
    """The state of a run. Its methods note what happens; `decide` then says what begins."""

    def __init__(self, capacity: Amount, engines: Mapping[str, Replicas]):
        """`engines`: by name. Those of which a replica leaves room for as much again start before there is work, while
        the trials start."""
        self.capacity = capacity
        self.pools = {name: Pool(may=may) for name, may in engines.items()}
        self.waiting: dict[Key, Task] = {}  # in the order of their requests
        self.running: dict[Key, Task] = {}
        self._now = 0.0
        for pool in self.pools.values():
            pool.replicas = int(pool.needs.times(2).fits(self.free))

    @property
    def free(self) -> Amount:
        cpus, gpus = self.capacity.cpus, self.capacity.gpus
        for task in self.running.values():
            cpus, gpus = cpus - task.process.cpus * task.processes, gpus - task.process.gpus * task.processes
        for pool in self.pools.values():
            cpus, gpus = cpus - pool.needs.cpus * pool.replicas, gpus - pool.needs.gpus * pool.replicas
        return Amount(cpus=cpus, gpus=gpus)

    def wanted_of(self, most: Amount) -> list[Amount]:
        """What all that runs, waits or would have work needs, up to `most` in all; each has to be on one node."""
        tasks = [*self.running.values(), *sorted(self.waiting.values(), key=lambda task: -task.urgency)]
        parts = [part for pool in self.pools.values() for part in pool.may.parts * pool.wanted]
        parts += [task.process for task in tasks for _ in range(task.processes)]
        parts += [part for name in self._engines_to_start() for part in self.pools[name].may.parts]
        found, total = [], Amount()
        for part in parts:
            if (total + part).fits(most):
                found.append(part)
                total += part
        return found

    def _engines_to_start(self) -> set[str]:
        """The engines from which waiting tasks sample, and which nothing else uses."""
        named = {task.engine for task in self.waiting.values() if task.engine is not None}
        return {name for name in named if not self.pools[name].wanted}

    def request(self, key: Key, task: Task) -> None:
        self.waiting[key] = task

    def release(self, key: Key) -> None:
        """A task, or a use of an engine, has ended or is not needed any more."""
        for pool in self.pools.values():
            pool.uses.pop(key, None)
        self.waiting.pop(key, None)
        task = self.running.pop(key, None)
        if task is not None and task.engine is not None:
            self.pools[task.engine].pins -= 1

    def use(self, key: Key, engine: str) -> None:
        self.pools[engine].uses[key] = 1

    def decide(self, now: float) -> list[Key]:
        """Begin what fits: the keys of the tasks that begin. `pools` has the new numbers of replicas. `now` is in
        seconds. Decide again from time to time while something waits."""
        self._now = now
        for pool in self.pools.values():
            if pool.used:
                pool.idle_since = now
            elif now - pool.idle_since > UNUSED_SECONDS:
                pool.replicas = 0
        for pool in sorted(self.pools.values(), key=lambda pool: -len(pool.uses)):
            if pool.used and not pool.replicas and self._make_room(pool.needs):
                pool.replicas = 1
        begun = list(self._begin_tasks())
        for pool in self.pools.values():  # What is left goes to engines with much work.
            while pool.replicas and pool.replicas < pool.wanted and pool.needs.fits(self.free):
                pool.replicas += 1
        return begun

    def _begin_tasks(self) -> Iterator[Key]:
        refused = set[tuple[Amount, str | None]]()  # Tasks of the same needs fit no better, and a run has many.
        for key, task in sorted(self.waiting.items(), key=lambda each: -each[1].urgency):
            if (task.needs, task.engine) in refused:
                continue
            pool = None if task.engine is None else self.pools[task.engine]
            starts = pool is not None and not pool.replicas
            needs = task.needs + pool.needs if pool is not None and starts else task.needs
            if self._make_room(needs, keep=task.engine):
                del self.waiting[key]
                self.running[key] = task
                if pool is not None:
                    pool.pins += 1
                    pool.replicas += starts
                yield key
            else:
                refused.add((task.needs, task.engine))

    def _make_room(self, needs: Amount, keep: str | None = None) -> bool:
        """End replicas without work, of the engine that has been idle for longest first, until there is room. Returns
        whether there is."""
        if needs.fits(self.free):
            return True
        before = {name: pool.replicas for name, pool in self.pools.items()}
        others_work = bool(self.running) or any(pool.used and pool.replicas for pool in self.pools.values())
        for name, pool in sorted(self.pools.items(), key=lambda each: each[1].idle_since):
            least = max(pool.wanted, int(name == keep))
            if others_work and self._now - pool.idle_since < IDLE_SECONDS:
                continue
            while pool.replicas > least and not needs.fits(self.free):
                pool.replicas -= 1
        if needs.fits(self.free):
            return True
        for name, pool in self.pools.items():  # It did not help.
            pool.replicas = before[name]
        return False
