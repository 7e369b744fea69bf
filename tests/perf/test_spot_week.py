"""The simulated week: what holds for any scheduler and any preemptions."""

from dataclasses import replace

import pytest

from orchestrator.plan.build import build_plan
from orchestrator.run.allocation import Amount, Task
from perf.spot import bounds
from perf.spot.attempts import Attempt
from perf.spot.cluster import HOUR, Cluster, Node, Preemption, nodes_for, place_on, preemptions_of
from perf.spot.jobs import Engine, Job, Workload, with_chains, workload_of
from perf.spot.schedulers import FIRST_COME, OURS, SCHEDULERS
from perf.spot.served import Served
from perf.spot.simulation import Simulation
from perf.spot.studies import studies
from perf.spot.waste import LOST_SAMPLES

CALM = Cluster(between=float("inf"))
ROUGH = Cluster(nodes=2, between=0.5 * HOUR)
GPU = Amount(cpus=4, gpus=1)


def training(key: str, hours: float, gpus: int = 1, after: tuple[str, ...] = (), save_seconds: float = 1.0) -> Job:
    task = Task(process=GPU, processes=gpus)
    return Job(key=key, seconds=hours * HOUR, after=after, task=task, start_seconds=60, save_seconds=save_seconds)


def sampling(key: str, hours: float, engine: str = "a", parts: int = 1, after: tuple[str, ...] = ()) -> Job:
    return Job(key=key, seconds=hours * HOUR, after=after, engine=engine, parts=parts)


def workload(*jobs: Job) -> Workload:
    engines = {name: Engine(needs=GPU, start_seconds=90, replicas=2) for name in ("a", "b")}
    named = {job.key: job for job in jobs}
    trials = [frozenset(named)]
    return with_chains(Workload(jobs=named, engines=engines, trials=trials, trials_at_once=1))


MIXED = workload(
    *(sampling(f"data {i}", 0.5, "ab"[i % 2], parts=1 + i % 3) for i in range(6)),
    *(training(f"student {i}", 0.7, (1, 4, 8)[i % 3], (f"data {i}",), (1.0, 100.0, 400.0)[i % 3]) for i in range(6)),
    *(sampling(f"scores {i}", 0.2, "ba"[i % 2], after=(f"student {i}",)) for i in range(6)),
)


class Checked(Simulation):
    """Checks after each decision that no GPU of a node is used twice."""

    def _decide(self) -> None:
        super()._decide()
        assert all(Amount().fits(node.free) for node in self.nodes.values())
        assert all(node.ready or not node.held for node in self.nodes.values())


def run(jobs: Workload, cluster: Cluster, scheduler=OURS, preemptions: list[Preemption] | None = None) -> Checked:
    simulation = Checked(jobs, cluster, scheduler, preemptions or [])
    simulation.run()
    return simulation


@pytest.mark.parametrize("scheduler", SCHEDULERS, ids=lambda each: each.name)
@pytest.mark.parametrize("seed", range(8))
def test_all_stages_finish_once_and_no_work_is_lost_or_made(scheduler, seed):
    cluster = replace(ROUGH, notice=120.0 * (seed % 2))
    preemptions = preemptions_of(cluster, seed)
    ended = run(MIXED, cluster, scheduler, preemptions)
    assert ended.done.keys() == MIXED.jobs.keys()
    for key, job in MIXED.jobs.items():
        assert all(ended.done[one] <= ended.done[key] for one in job.after)
    assert ended.spent.work == pytest.approx(MIXED.gpu_seconds)
    assert ended.spent.free > -1
    assert min(vars(ended.spent).values()) >= 0
    assert ended.losses
    assert ended.now >= bounds.with_preemptions(MIXED, cluster, preemptions)
    assert ended.now >= bounds.without_preemptions(MIXED, cluster)


def test_a_run_is_the_same_each_time():
    ends = [run(MIXED, ROUGH, preemptions=preemptions_of(ROUGH, 3)).done for _ in range(2)]
    assert ends[0] == ends[1]
    assert preemptions_of(ROUGH, 3) != preemptions_of(ROUGH, 4)


def test_a_run_without_preemptions_takes_what_its_parts_take():
    ended = run(workload(sampling("data", 1.0), training("student", 1.0, after=("data",))), CALM)
    saves = (HOUR // 300 - 1) * 1.0
    assert ended.now == pytest.approx(CALM.boot + 90 + HOUR + 60 + HOUR + saves)
    assert ended.spent.saves == saves
    assert ended.spent.starts == 150
    assert ended.spent.lost == 0


def test_a_preempted_training_loses_what_it_has_done_since_its_last_save():
    at = CALM.boot + 60 + 1000  # three saves of one second each, and 97 s of training
    lost = Preemption(place=0, time=at, until=at + 100)
    ended = run(workload(training("student", 1.0)), replace(CALM, notice=0.0), preemptions=[lost])
    assert ended.spent.lost == pytest.approx(97)
    assert ended.spent.boots == 2 * CALM.boot * 8


def test_with_a_notice_a_training_loses_what_it_has_done_since_the_notice():
    at = CALM.boot + 60 + 1000
    lost = Preemption(place=0, time=at, until=at)
    ended = run(workload(training("student", 1.0)), replace(CALM, notice=20.0), preemptions=[lost])
    assert ended.spent.lost == pytest.approx(20)


def test_a_lost_replica_loses_the_answers_in_progress():
    at = CALM.boot + 90 + 1000
    lost = Preemption(place=0, time=at, until=at)
    ended = run(workload(sampling("data", 1.0)), CALM, preemptions=[lost])
    assert ended.spent.lost == pytest.approx(LOST_SAMPLES)
    assert ended.now == pytest.approx(at + CALM.boot + 90 + HOUR - 1000 + LOST_SAMPLES)


def test_a_state_that_takes_longer_than_the_notice_is_not_saved():
    job = training("student", 1.0, save_seconds=30)
    attempt = Attempt(job=job, began=0.0, left=HOUR, every=600, nodes=1)
    attempt.notice(500, 20)
    assert attempt.saved(520) == 0
    attempt.notice(500, 30)
    assert attempt.saved(520) == 440


def test_jobs_of_an_engine_share_its_replicas():
    engine = Served(needs=GPU, start_seconds=0, ready=2)
    engine.add("small", 100, 1)
    engine.add("large", 600, 3)
    assert engine.next_end == 200  # two replicas for four parts: half of one for the small job
    engine.advance(200)
    assert engine.ended == ["small"]
    engine.remove("small")
    assert engine.next_end == 200 + 300 / 2
    assert engine.advance(300) == 0
    engine.remove("large")
    assert engine.advance(310) == 2 * 10


def test_pinned_engines_leave_room_for_the_largest_training():
    jobs = workload(sampling("a", 50.0), sampling("b", 10.0, "b"), training("student", 0.1, gpus=8))
    replicas = FIRST_COME.replicas(jobs, 16)
    assert replicas == {"a": 6, "b": 1}
    assert replicas["a"] + replicas["b"] + 8 <= 16


def test_several_processes_are_on_one_node_if_they_fit_there():
    nodes = [Node(place=i, launched=0, up=0, of_node=CALM.of_node, ready=True) for i in range(3)]
    nodes[0].held["task"] = 4, GPU
    nodes[1].held["task"] = 1, GPU
    nodes[2].draining = True
    assert place_on(nodes, GPU, 5, "hybrid") == {1: 5}
    assert place_on(nodes, GPU, 8, "hybrid") == {1: 7, 0: 1}
    assert place_on(nodes, GPU, 12, "hybrid") is None
    assert place_on(nodes, GPU, 1, "spread") == {1: 1}
    assert place_on(nodes, GPU, 1, "hybrid") == {0: 1}


def test_as_many_nodes_as_hold_what_is_wanted():
    assert nodes_for([GPU] * 9, CALM.of_node) == 2
    assert nodes_for([GPU.times(6), GPU.times(6), *[GPU] * 4], CALM.of_node) == 2
    assert nodes_for([], CALM.of_node) == 0


def test_the_bound_that_knows_preemptions():
    jobs = workload(*(training(f"student {i}", 8.0) for i in range(16)))
    cluster = replace(CALM, nodes=2)
    assert bounds.without_preemptions(jobs, cluster) == 8 * HOUR
    assert bounds.with_preemptions(jobs, cluster, []) == 8 * HOUR + cluster.boot
    lost = [Preemption(place=0, time=HOUR, until=HOUR + 300)]
    # Half of the GPUs are not there for 300 s and a boot, which takes the whole cluster half of that.
    assert bounds.with_preemptions(jobs, cluster, lost) == 8 * HOUR + cluster.boot + (300 + cluster.boot) / 2


def test_the_work_is_that_of_the_plans():
    small = studies(64, 1)
    found = workload_of([build_plan(study) for study in small])
    assert {job.task.processes for job in found.jobs.values() if job.task is not None} == {1, 4, 8}
    assert {engine.needs.gpus for engine in found.engines.values()} == {1, 2}
    plans = [build_plan(study) for study in small]
    assert found.jobs.keys() == {stage.address for plan in plans for stage in plan.stages}
    assert len(found.trials) == sum(len(plan.trials) for plan in plans)
