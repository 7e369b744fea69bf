"""A run in simulated time: jobs of trials, a scheduler, engines, and nodes that come and go.

What is real: the graph of stages, the decisions of `Allocation`, what it asks of the autoscaler. All else is a model.
"""

import heapq
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

from orchestrator.run.allocation import Amount, Replicas
from perf.spot.attempts import Attempt
from perf.spot.cluster import HORIZON, Cluster, Node, Preemption, nodes_for, place_on
from perf.spot.jobs import Job, Workload
from perf.spot.schedulers import Scheduler
from perf.spot.served import Replica, Served
from perf.spot.waste import LOST_SAMPLES, GpuSeconds

LOOK = 60.0  # seconds between two decisions while an engine or a node is idle; the real allocator takes 2
ALL = Amount(cpus=float("inf"), gpus=float("inf"))


class Simulation:
    def __init__(
        self,
        workload: Workload,
        cluster: Cluster,
        scheduler: Scheduler,
        preemptions: Iterable[Preemption],
    ):
        self.workload, self.cluster, self.scheduler = workload, cluster, scheduler
        self.now, self.spent = 0.0, GpuSeconds()
        self._order = count()
        self._events: list[tuple[float, int, Callable[..., None], tuple]] = []
        replicas = scheduler.replicas(workload, cluster.gpus)
        engines = {name: Replicas(needs=engine.needs, most=replicas[name]) for name, engine in workload.engines.items()}
        self.allocation = scheduler.make(Amount(), engines)
        self.engines = {
            name: Served(needs=engine.needs, start_seconds=engine.start_seconds)
            for name, engine in workload.engines.items()
        }
        self.nodes: dict[int, Node] = {}
        self._empty_until = dict.fromkeys(range(cluster.nodes), 0.0)
        self.done: dict[str, float] = {}
        self._left = {key: job.seconds for key, job in workload.jobs.items() if job.task is not None}
        self._attempts: dict[str, Attempt] = {}
        self._unplaced: list[str] = []  # tasks that have begun, and have no room on the nodes
        self._followers: dict[str, list[str]] = {key: [] for key in workload.jobs}
        for key, job in workload.jobs.items():
            for one in set(job.after):
                self._followers[one].append(key)
        self._missing = {key: len(set(job.after)) for key, job in workload.jobs.items()}
        self._needed: set[str] = set()  # by trials that have begun
        self._asked: set[str] = set()
        self._trials: list[set[str]] = []
        self._later = list(reversed(workload.trials))
        self._looks: set[float] = set()
        self.losses = 0
        for each in preemptions:
            if cluster.notice:
                self._at(each.time - cluster.notice, self._notice, each)
            self._at(each.time, self._lose, each)

    def run(self) -> None:
        """Until all jobs are done. Raises AssertionError if nothing can go on."""
        self._begin_trials()
        self._decide()
        while len(self.done) < len(self.workload.jobs):
            time, engine = min(
                ((each.next_end, name) for name, each in self.engines.items()), default=(float("inf"), "")
            )
            assert self.now < HORIZON, "the run does not end"
            assert self._events or time < float("inf"), "nothing happens any more"
            if self._events and self._events[0][0] <= time:
                self.now, _, act, arguments = heapq.heappop(self._events)
                act(*arguments)
                if self._events and self._events[0][0] == self.now:
                    continue
            else:
                self.now = time
                self._end_requests(engine)
            self._decide()
        for engine in self.engines:
            self._set_replicas(engine, 0)
        for place in list(self.nodes):
            self._end_node(place)

    def _at(self, time: float, act: Callable[..., None], *arguments: Any) -> None:
        if time >= self.now:
            heapq.heappush(self._events, (time, next(self._order), act, arguments))

    # Trials and jobs

    def _begin_trials(self) -> None:
        while self._later and len(self._trials) < self.workload.trials_at_once:
            left = set(self._later.pop()) - self.done.keys()
            if left:
                self._trials.append(left)
                self._needed |= left
                for key in sorted(left):
                    self._ask(key)

    def _ask(self, key: str) -> None:
        if key in self._asked or self._missing[key] or key not in self._needed:
            return
        self._asked.add(key)
        job = self.workload.jobs[key]
        if job.instant:
            self._finish(key)
        elif job.task is not None:
            self._request(job)
        else:
            assert job.engine is not None
            engine = self.engines[job.engine]
            self._advance(engine)
            engine.add(key, job.seconds + job.load_seconds, job.parts)
            self.allocation.use(key, job.engine)
            if engine.ready:
                self.allocation.pools[job.engine].uses[key] = job.parts

    def _request(self, job: Job) -> None:
        assert job.task is not None
        task = type(job.task)(
            process=job.task.process, processes=job.task.processes, urgency=self.scheduler.urgency(job)
        )
        self.allocation.request(job.key, task)

    def _finish(self, key: str) -> None:
        assert key not in self.done
        self.done[key] = self.now
        for follower in self._followers[key]:
            self._missing[follower] -= 1
            self._ask(follower)
        for trial in self._trials:
            trial.discard(key)
        if not all(self._trials):
            self._trials = [trial for trial in self._trials if trial]
            self._begin_trials()

    # Decisions

    def _decide(self) -> None:
        up = [node for node in self.nodes.values() if node.ready]
        self.allocation.capacity = self.cluster.of_node.times(len(up))
        self._unplaced += self.allocation.decide(self.now)
        for name, pool in self.allocation.pools.items():
            self._set_replicas(name, pool.replicas)
        self._place()
        self._scale()
        if any(pool.replicas > pool.wanted for pool in self.allocation.pools.values()):
            self._look_at(self.now + LOOK)

    def _look_at(self, time: float) -> None:
        """Decide then, but not more often than each LOOK seconds."""
        time = -(-time // LOOK) * LOOK
        if time not in self._looks:
            self._looks.add(time)
            self._at(time, self._looks.discard, time)

    def _place(self) -> None:
        nodes = list(self.nodes.values())
        for engine in self.engines.values():
            for replica in engine.replicas:
                if replica.place is None:
                    found = place_on(nodes, engine.needs, 1, "spread")
                    if found:
                        (replica.place,), replica.placed = found, self.now
                        self.nodes[replica.place].held[replica] = 1, engine.needs
                        self._at(self.now + engine.start_seconds, self._ready, replica, replica.placed)
        for key in list(self._unplaced):
            job = self.workload.jobs[key]
            assert job.task is not None
            found = place_on(nodes, job.task.process, job.task.processes, "hybrid")
            if found:
                self._unplaced.remove(key)
                for place, n in found.items():
                    self.nodes[place].held[key] = n, job.task.process
                attempt = Attempt(
                    job=job,
                    began=self.now,
                    left=self._left[key],
                    every=self.workload.every(job),
                    nodes=len(found),
                )
                self._attempts[key] = attempt
                self._at(attempt.end, self._end_task, key, attempt)

    def _scale(self) -> None:
        """Launch and end nodes, as the autoscaler does."""
        of_node, busy = self.cluster.of_node, True
        for node in self.nodes.values():
            if node.held or not node.ready:
                node.idle_since = self.now
            else:
                busy = False
        if busy and len(self.nodes) == self.cluster.nodes:
            return
        wanted = self.allocation.wanted_of(ALL)
        full = sum(each.gpus for each in wanted) >= self.cluster.gpus
        needed = self.cluster.nodes if full else min(self.cluster.nodes, nodes_for(wanted, of_node))
        for place in range(self.cluster.nodes):
            if len(self.nodes) < needed and place not in self.nodes:
                if self._empty_until[place] > self.now:
                    self._look_at(self._empty_until[place])
                else:
                    node = Node(place=place, launched=self.now, up=self.now + self.cluster.boot, of_node=of_node)
                    self.nodes[place] = node
                    self._at(node.up, self._boot, node)
        for node in list(self.nodes.values()):
            if node.held or not node.ready:
                continue
            if len(self.nodes) > needed and self.now - node.idle_since >= self.cluster.idle:
                self._end_node(node.place)
            else:
                self._look_at(max(self.now + LOOK, node.idle_since + self.cluster.idle))

    # Nodes

    def _boot(self, node: Node) -> None:
        if self.nodes.get(node.place) is node:
            node.ready, node.idle_since = True, self.now

    def _notice(self, preemption: Preemption) -> None:
        node = self.nodes.get(preemption.place)
        if node is not None:
            node.draining = True
            for key in node.held:
                if isinstance(key, str):
                    self._attempts[key].notice(self.now, self.cluster.notice)

    def _lose(self, preemption: Preemption) -> None:
        self._empty_until[preemption.place] = max(self._empty_until[preemption.place], preemption.until)
        node = self.nodes.get(preemption.place)
        if node is None:
            return
        self.losses += 1
        for held in list(node.held):
            if isinstance(held, Replica):
                self._lose_replica(held)
            else:
                self._lose_task(str(held))
        self._end_node(preemption.place)

    def _end_node(self, place: int) -> None:
        node = self.nodes.pop(place)
        gpus = node.of_node.gpus
        self.spent.paid += (self.now - node.launched) * gpus
        self.spent.boots += (min(self.now, node.up) - node.launched) * gpus

    # Tasks

    def _leave(self, key: object) -> None:
        for node in self.nodes.values():
            node.held.pop(key, None)

    def _end_task(self, key: str, attempt: Attempt) -> None:
        if self._attempts.get(key) is not attempt:
            return
        self._count(attempt, attempt.left)
        del self._attempts[key]
        self._leave(key)
        self.allocation.release(key)
        self._finish(key)

    def _lose_task(self, key: str) -> None:
        attempt = self._attempts.pop(key)
        saved = attempt.saved(self.now)
        self._count(attempt, saved)
        self._left[key] -= saved
        self._leave(key)
        self.allocation.release(key)
        self._request(attempt.job)

    def _count(self, attempt: Attempt, worked: float) -> None:
        start, training, saves, _ = attempt.done(self.now)
        gpus = self.workload.gpus(attempt.job)
        self.spent.starts += start * gpus
        self.spent.saves += saves * gpus
        self.spent.work += worked * gpus
        self.spent.across += worked * (attempt.slow - 1) * gpus
        self.spent.lost += (training - worked * attempt.slow) * gpus

    # Engines

    def _set_replicas(self, name: str, n: int) -> None:
        engine = self.engines[name]
        if n != len(engine.replicas):
            self._advance(engine)
        while len(engine.replicas) < n:
            engine.replicas.append(Replica(engine=name))
        while len(engine.replicas) > n:
            replica = min(engine.replicas, key=lambda each: (each.ready, each.place is not None))
            self._leave(replica)
            engine.replicas.remove(replica)
            engine.ready -= replica.ready
            self._count_start(replica)

    def _ready(self, replica: Replica, placed: float) -> None:
        engine = self.engines[replica.engine]
        if replica not in engine.replicas or replica.place is None or replica.placed != placed:
            return
        self._advance(engine)
        self._count_start(replica)
        replica.ready = True
        engine.ready += 1
        for key, parts in engine.parts.items():
            self.allocation.pools[replica.engine].uses[key] = parts

    def _count_start(self, replica: Replica) -> None:
        if replica.place is not None and not replica.ready:
            self.spent.starts += (self.now - replica.placed) * self.engines[replica.engine].needs.gpus

    def _lose_replica(self, replica: Replica) -> None:
        """Serve starts another one. Answers in progress are lost."""
        engine = self.engines[replica.engine]
        self._advance(engine)
        self._count_start(replica)
        if replica.ready:
            self.spent.lost += engine.lose(LOST_SAMPLES) * engine.needs.gpus
        engine.ready -= replica.ready
        self._leave(replica)
        replica.place, replica.ready = None, False

    def _advance(self, engine: Served) -> None:
        self.spent.engines += engine.advance(self.now) * engine.needs.gpus

    def _end_requests(self, name: str) -> None:
        engine = self.engines[name]
        self._advance(engine)
        for key in engine.ended:
            job = self.workload.jobs[key]
            engine.remove(key)
            self.spent.work += job.seconds * engine.needs.gpus
            self.spent.starts += job.load_seconds * engine.needs.gpus
            self.allocation.release(key)
            self._finish(key)
