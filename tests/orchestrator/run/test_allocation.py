"""Runs of random stages on random resources, simulated with the real decisions: none waits for ever."""

import heapq
import random
from dataclasses import dataclass, field
from itertools import count

import pytest

from orchestrator.run.allocation import IDLE_SECONDS, UNUSED_SECONDS, Allocation, Amount, Replicas, Task

ONE = Amount(cpus=1)


@dataclass(kw_only=True)
class Stage:
    """A stage of a simulated run: a task, requests to an engine, or both (a training that samples as it trains)."""

    name: str
    seconds: float
    needs: Amount | None = None
    engine: str | None = None
    after: list["Stage"] = field(default_factory=list)


class Simulation:
    """Runs stages in simulated time. Requests make progress only while their engine has a replica."""

    def __init__(self, stages: list[Stage], capacity: Amount, engines: dict[str, Replicas]):
        self.allocation = Allocation(capacity, engines)
        self.stages, self.done, self.begun = stages, set[str](), set[str]()
        self.now, self.events, self.order = 0.0, [], count()
        self.asking: dict[str, Stage] = {}  # requests under way or waiting for a replica
        self.starts = 0
        self.by_name = {stage.name: stage for stage in stages}

    def run(self) -> None:
        while len(self.done) < len(self.stages):
            self._begin()
            assert self.events, f"nothing happens any more: {sorted(set(self.by_name) - self.done)} are left"
            self.now, _, name = heapq.heappop(self.events)
            self._end(self.by_name[name])
        self._decide()
        assert not self.allocation.waiting
        assert not self.allocation.running

    def _begin(self) -> None:
        for stage in self.stages:
            if stage.name not in self.begun and all(needed.name in self.done for needed in stage.after):
                self.begun.add(stage.name)
                if stage.needs is not None:
                    task = Task(process=stage.needs, engine=stage.engine, urgency=len(stage.after))
                    self.allocation.request(stage.name, task)
                else:
                    self.allocation.use(stage.name, stage.engine)
                    self.asking[stage.name] = stage
        self._decide()

    def _decide(self) -> None:
        before = {name: pool.replicas for name, pool in self.allocation.pools.items()}
        for name in self.allocation.decide(self.now):
            self._schedule(self.by_name[name])
        for name, pool in self.allocation.pools.items():
            self.starts += max(0, pool.replicas - before[name])
            assert pool.replicas <= pool.may.most
            assert pool.replicas or not pool.pins, "a training that samples has lost its engine"
            if before[name] and not pool.replicas:
                assert not pool.uses, "an engine with work was stopped"
        assert Amount().fits(self.allocation.free), "more is used than there is"
        for name, stage in list(self.asking.items()):
            if self.allocation.pools[stage.engine].replicas:
                del self.asking[name]
                self._schedule(stage)

    def _schedule(self, stage: Stage) -> None:
        heapq.heappush(self.events, (self.now + stage.seconds, next(self.order), stage.name))

    def _end(self, stage: Stage) -> None:
        self.done.add(stage.name)
        self.allocation.release(stage.name)


def random_run(seed: int) -> Simulation:
    """A random graph of stages on random engines, of which each part fits the random resources alone."""
    rng = random.Random(f"allocation {seed}")
    gpus, cpus = rng.choice([0, 1, 1, 2, 4, 8]), rng.choice([1, 2, 4, 16])
    capacity = Amount(cpus=cpus, gpus=gpus)
    shares = [0.5, 1] + [n for n in (2, 4) if n <= gpus] if gpus else [0]
    engines = {
        f"engine {i}": Replicas(
            needs=Amount(cpus=rng.choice([0.5, 1]), gpus=rng.choice(shares)), most=rng.choice([1, 1, 2, 4])
        )
        for i in range(rng.randint(1, 6))
    }
    stages: list[Stage] = []
    for i in range(rng.randint(5, 60)):
        after = rng.sample(stages, min(len(stages), rng.randint(0, 3)))
        name, seconds, engine = f"stage {i}", rng.expovariate(0.1), rng.choice(list(engines))
        needs = Amount(cpus=rng.choice([0.25, 1, cpus]), gpus=rng.choice([0, *shares]))
        kind = rng.choice(["requests", "requests", "task", "samples as it trains"])
        if kind == "samples as it trains" and not (needs + engines[engine].needs).fits(capacity):
            kind = "task"
        if kind == "requests":
            stage = Stage(name=name, seconds=seconds, engine=engine, after=after)
        else:
            samples = engine if kind == "samples as it trains" else None
            stage = Stage(name=name, seconds=seconds, needs=needs, engine=samples, after=after)
        stages.append(stage)
    return Simulation(stages, capacity, engines)


@pytest.mark.parametrize("first", range(0, 300, 50))
def test_no_random_run_waits_for_ever(first):
    for seed in range(first, first + 50):
        random_run(seed).run()


def samples(n: int, engine: str) -> list[Stage]:
    return [Stage(name=f"{engine} {i}", seconds=1.0, engine=engine) for i in range(n)]


def test_engines_that_leave_room_start_before_there_is_work():
    allocation = Allocation(
        ONE.times(3), {"a": Replicas(needs=ONE), "b": Replicas(needs=ONE), "c": Replicas(needs=ONE)}
    )
    assert [pool.replicas for pool in allocation.pools.values()] == [1, 1, 0]


def test_an_engine_finishes_its_work_before_another_one_takes_its_gpu():
    gpu = Amount(gpus=1)
    run = Simulation(samples(5, "a") + samples(5, "b"), gpu, {"a": Replicas(needs=gpu), "b": Replicas(needs=gpu)})
    run.run()
    assert run.starts == 2


def test_with_room_for_both_engines_work_at_once():
    gpu = Amount(gpus=1)
    run = Simulation(
        samples(5, "a") + samples(5, "b"), gpu.times(2), {"a": Replicas(needs=gpu), "b": Replicas(needs=gpu)}
    )
    run.run()
    assert run.now == 1.0


def test_an_idle_engine_stays_until_something_else_needs_its_resources():
    allocation = Allocation(ONE, {"a": Replicas(needs=ONE)})
    allocation.use("call of a", "a")
    assert allocation.decide(0) == []
    allocation.release("call of a")
    assert allocation.decide(1) == []
    assert allocation.pools["a"].replicas == 1
    allocation.request("task", Task(process=ONE))
    assert allocation.decide(2) == ["task"]
    assert allocation.pools["a"].replicas == 0


def test_the_engine_that_has_been_idle_for_longest_ends_first():
    allocation = Allocation(ONE.times(2), {"a": Replicas(needs=ONE), "b": Replicas(needs=ONE)})
    for now, name in enumerate(("a", "b")):
        allocation.use(f"call of {name}", name)
        allocation.decide(now)
        allocation.release(f"call of {name}")
    allocation.request("task", Task(process=ONE))
    allocation.decide(3)
    assert [pool.replicas for pool in allocation.pools.values()] == [0, 1]


def test_while_something_works_an_engine_ends_after_it_has_been_idle_for_a_while():
    allocation = Allocation(ONE.times(2), {"a": Replicas(needs=ONE)})
    allocation.use("call of a", "a")
    allocation.request("first", Task(process=ONE))
    assert allocation.decide(0) == ["first"]
    allocation.release("call of a")
    allocation.request("second", Task(process=ONE))
    assert allocation.decide(IDLE_SECONDS - 1) == []
    assert allocation.pools["a"].replicas == 1
    assert allocation.decide(IDLE_SECONDS) == ["second"]
    assert allocation.pools["a"].replicas == 0


def test_no_engine_ends_for_a_task_that_would_still_not_fit():
    allocation = Allocation(ONE.times(2), {"a": Replicas(needs=ONE), "b": Replicas(needs=ONE)})
    allocation.use("call of a", "a")
    allocation.use("call of b", "b")
    allocation.decide(0)
    allocation.release("call of b")
    allocation.request("task", Task(process=ONE.times(2)))
    assert allocation.decide(1) == []
    assert allocation.pools["b"].replicas == 1


def test_several_uses_get_more_replicas_of_what_is_left():
    allocation = Allocation(ONE.times(4), {"a": Replicas(needs=ONE, most=3)})
    allocation.request("task", Task(process=ONE.times(2)))
    for call in range(2):
        allocation.use(call, "a")
    assert allocation.decide(0) == ["task"]
    assert allocation.pools["a"].replicas == 2
    allocation.release("task")
    for call in range(2, 8):
        allocation.use(call, "a")
    allocation.decide(1)
    assert allocation.pools["a"].replicas == 3


def test_a_training_that_samples_begins_with_its_engine_and_keeps_it():
    allocation = Allocation(ONE.times(2), {"a": Replicas(needs=ONE), "b": Replicas(needs=ONE)})
    for i in range(2):
        allocation.request(i, Task(process=ONE, engine="a"))
    assert allocation.decide(0) == [0]
    allocation.use("call of b", "b")
    assert allocation.decide(1) == []
    assert [pool.replicas for pool in allocation.pools.values()] == [1, 0]
    allocation.release(0)
    assert allocation.decide(2) in ([], [1])
    assert Amount().fits(allocation.free)


def test_what_does_not_fit_is_tried_once_for_all_tasks_of_its_size(monkeypatch):
    tried, make_room = [], Allocation._make_room
    monkeypatch.setattr(Allocation, "_make_room", lambda self, *a, **k: tried.append(a) or make_room(self, *a, **k))
    allocation = Allocation(ONE, {})
    for i in range(100):
        allocation.request(f"large {i}", Task(process=ONE.times(2), urgency=1))
    for i in range(100):
        allocation.request(f"small {i}", Task(process=ONE))
    assert allocation.decide(0) == ["small 0"]
    assert len(tried) == 3  # With hundreds of trials most tasks wait, and each request decides again.


def test_what_most_trials_wait_for_begins_first():
    allocation = Allocation(ONE, {})
    for urgency in (1, 3, 2):
        allocation.request(urgency, Task(process=ONE, urgency=urgency))
    assert allocation.decide(0) == [3]
    allocation.release(2)
    allocation.release(3)
    assert allocation.decide(1) == [1]


def test_what_a_run_wants_is_what_runs_waits_or_would_have_work_on_single_nodes():
    allocation = Allocation(
        Amount(),
        {
            "a": Replicas(needs=ONE, most=2),
            "idle": Replicas(needs=ONE),
            "sampled": Replicas(needs=Amount(gpus=4), nodes=2),
        },
    )
    allocation.use("use", "a")
    allocation.request("training", Task(process=Amount(gpus=1), processes=3))
    allocation.request("rollouts", Task(process=Amount(cpus=4), engine="sampled", urgency=1))
    assert allocation.wanted_of(Amount(cpus=100, gpus=100)) == [
        ONE,
        Amount(cpus=4),
        *[Amount(gpus=1)] * 3,
        *[Amount(gpus=2)] * 2,
    ]
    assert allocation.wanted_of(Amount(cpus=5, gpus=2)) == [ONE, Amount(cpus=4), *[Amount(gpus=1)] * 2]
    allocation.release("use")
    assert ONE not in allocation.wanted_of(Amount(cpus=100, gpus=100))


def test_an_engine_that_nothing_uses_ends_though_nothing_waits_for_its_resources():
    allocation = Allocation(ONE, {"a": Replicas(needs=ONE)})
    allocation.use("use", "a")
    allocation.decide(0.0)
    allocation.release("use")
    allocation.decide(UNUSED_SECONDS)
    assert allocation.pools["a"].replicas == 1
    allocation.decide(UNUSED_SECONDS + 1)
    assert allocation.pools["a"].replicas == 0
