"""The allocator as a Ray actor: callers wait for resources, and a lost trial gives them back."""

import math
from collections.abc import Iterator

import pytest
import ray

from orchestrator.run.allocation import Amount, Replicas, Task
from orchestrator.run.allocator import LEAST_MEMORY, ReplicasOf, replicas_for, resources_of, start_allocator
from orchestrator.run.spread import PART, PARTS_EACH
from orchestrator.stages import model
from orchestrator.store.stage import Runtime, Stage
from orchestrator.study.models import OrganismModel

pytestmark = pytest.mark.slow

ONE = Task(process=Amount(cpus=1))
WAITING = {"needed by three": 3, "needed by one": 1}
NO_LIMIT = Amount(cpus=math.inf, gpus=math.inf)
SOON = 5.0  # seconds, in which what can begin begins


@pytest.fixture(scope="module")
def _ray() -> Iterator[None]:
    ray.init("local", num_cpus=1, include_dashboard=False, object_store_memory=128 << 20, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def allocator(_ray):
    handle = start_allocator("bbbbbbbb", {"organisms": Replicas(needs=Amount(cpus=1))}, NO_LIMIT, WAITING)
    ray.get(handle.replicas.remote("organisms"))  # It has started.
    yield handle
    ray.kill(handle)


def waits(begun: ray.ObjectRef) -> bool:
    return not ray.wait([begun], timeout=0.5)[0]


def test_a_task_waits_until_another_one_ends(allocator):
    ray.get(allocator.begin_task.remote(("a", "first"), ONE), timeout=SOON)
    second = allocator.begin_task.remote(("b", "second"), ONE)
    assert waits(second)
    ray.get(allocator.release.remote(("a", "first")))
    ray.get(second, timeout=SOON)


def test_what_most_trials_need_begins_first(allocator):
    ray.get(allocator.begin_task.remote(("a", "first"), ONE), timeout=SOON)
    less = allocator.begin_task.remote(("b", "needed by one"), ONE)
    more = allocator.begin_task.remote(("c", "needed by three"), ONE)
    assert waits(more)
    ray.get(allocator.release.remote(("a", "first")))
    ray.get(more, timeout=SOON)
    assert waits(less)


@pytest.mark.usefixtures("_ray")
def test_a_study_gets_no_more_than_its_limit():
    limited = start_allocator("dddddddd", {}, Amount(cpus=0.5, gpus=math.inf), {})
    assert waits(limited.begin_task.remote(("a", "first"), ONE))
    ray.get(limited.begin_task.remote(("b", "half"), Task(process=Amount(cpus=0.5))), timeout=SOON)
    ray.kill(limited)


def test_a_large_batch_asks_for_more_replicas(allocator):
    assert ray.get(allocator.enlarge.remote(("a", "sample"), "organisms", 3)) == 1
    assert ray.get(allocator.enlarge.remote(("a", "sample"), "far", 3)) == 1
    wide = start_allocator("eeeeeeee", {"organisms": Replicas(needs=Amount(cpus=0.25), most=3)}, NO_LIMIT, {})
    ray.get(wide.use_engine.remote(("a", "sample"), "organisms"), timeout=SOON)
    assert ray.get(wide.replicas.remote("organisms")) == 1
    assert ray.get(wide.enlarge.remote(("a", "sample"), "organisms", 2)) == 3
    assert ray.get(wide.replicas.remote("organisms")) == 2
    assert replicas_for("eeeeeeee", ("a", "sample"), "organisms", PART) is None
    count = replicas_for("eeeeeeee", ("a", "sample"), "organisms", 10 * PART * PARTS_EACH)
    assert count() == 3
    ray.kill(wide)


def test_the_limits_of_an_engine_become_smaller_a_few_times(allocator):
    assert ray.get(allocator.memory_level.remote("organisms")) == 0
    levels = [ray.get(allocator.take_less_memory.remote("organisms")) for _ in range(LEAST_MEMORY + 2)]
    assert levels == [*range(1, LEAST_MEMORY + 1), LEAST_MEMORY, LEAST_MEMORY]
    assert ray.get(allocator.memory_level.remote("organisms")) == LEAST_MEMORY


def test_an_engine_has_a_replica_while_it_has_work_and_gives_it_to_a_task_then(allocator):
    replicas = ReplicasOf("bbbbbbbb", "organisms")
    assert replicas(None) == (0, {})
    ray.get(allocator.use_engine.remote(("a", "sample"), "organisms"), timeout=SOON)
    assert replicas(None) == (1, {})
    task = allocator.begin_task.remote(("b", "train"), ONE)
    assert waits(task)
    ray.get(allocator.release.remote(("a", "sample")))
    ray.get(task, timeout=SOON)
    assert replicas(None) == (0, {})


def test_a_lost_trial_gives_back_what_it_held_and_waited_for(allocator):
    ray.get(allocator.begin_task.remote(("lost", "first"), ONE), timeout=SOON)
    allocator.begin_task.remote(("lost", "second"), ONE)
    allocator.use_engine.remote(("lost", "sample"), "organisms")
    other = allocator.begin_task.remote(("other", "first"), ONE)
    assert waits(other)
    ray.get(allocator.forget.remote("lost"))
    ray.get(other, timeout=SOON)
    assert ray.get(allocator.replicas.remote("organisms")) == 0


def test_a_model_behind_an_api_needs_nothing(allocator):
    ray.get(allocator.begin_task.remote(("a", "first"), ONE), timeout=SOON)
    ray.get(allocator.use_engine.remote(("b", "sample"), "far"), timeout=SOON)


def fail(stage: Stage, allocator) -> None:
    with resources_of(stage, "trial", allocator):
        assert ray.get(allocator.replicas.remote("organisms")) == 1
        raise OSError("no space")


def test_a_stage_holds_its_resources_until_it_ends_or_fails(allocator):
    organism = model.stage("student", OrganismModel(organism="steps"), cpus=1)
    sample = Stage("sample", 1, "asked", {}, {"base": organism}, Runtime(engine="organisms", uses_engine=True))
    training = Stage("train", 1, "trained", {}, {"base": organism}, Runtime(engine="organisms", cpus=1))
    with pytest.raises(OSError, match="no space"):
        fail(sample, allocator)
    with resources_of(training, "trial", allocator):
        assert ray.get(allocator.replicas.remote("organisms")) == 0
        assert waits(allocator.use_engine.remote(("other", "sample"), "organisms"))
    ray.get(allocator.use_engine.remote(("third", "sample"), "organisms"), timeout=SOON)


@pytest.mark.usefixtures("_ray")
def test_without_an_allocator_an_engine_keeps_its_replicas():
    class Context:
        target_num_replicas = 3

    assert ReplicasOf("cccccccc", "organisms")(Context()) == (3, {})
