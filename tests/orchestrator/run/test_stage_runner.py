"""The stage runner: what runs, in which order, and how failures are reported. Functions take the place of Ray."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import pytest
from ray.exceptions import WorkerCrashedError

from orchestrator.run import stage_runner
from orchestrator.run.event_log import EventLog
from orchestrator.run.stage_runner import StageFailed, StageRunner
from orchestrator.stages import train
from orchestrator.store.leases import LeaseRequest
from orchestrator.store.stage import Runtime, Stage
from orchestrator.store.store import Store
from orchestrator.study.resources import TrainResources
from trainers.settings import TrainSettings

BASE = Stage("model", 1, "base", {})
BASE_AS_TASK = replace(BASE, runtime=Runtime(cpus=1))
SETTINGS = train.TrainStageSettings(
    train=TrainSettings(learning_rate=1.0, seed=1, dtype="float32"),
    examples=train.Completions(rows=None),
    sampling=None,
)
RUNTIME = train.TrainRuntime(resources=TrainResources(), checkpoints=(2,), cpus=1)
TRAINING = Stage("train", 1, "student", SETTINGS, {"base": BASE}, RUNTIME)
CHECKPOINT = train.at_step(TRAINING, 2)
ASKED = Stage("sample", 1, "asked", {}, {"student": CHECKPOINT})
LONG = 10.0  # seconds, longer than any wait in these tests


class Remote:
    """A remote function, or a method of an actor, that is called here."""

    def __init__(self, call):
        self.remote = call

    def options(self, **_):
        return self


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "runs"))


@pytest.fixture
def event_log():
    return EventLog()


@pytest.fixture
def runner_of(store, event_log, monkeypatch):
    """Makes the stage runner of a trial."""
    monkeypatch.setattr(stage_runner.ray, "get", lambda value: value)
    monkeypatch.setattr(stage_runner, "_perform_as_task", Remote(stage_runner._perform_as_task._function))
    methods = ("wait", "start", "finish", "fail", "failure", "advance")
    handle = SimpleNamespace(**{name: Remote(getattr(event_log, name)) for name in methods})
    asked = {name: Remote(lambda *_: None) for name in ("begin_task", "use_engine", "release")}
    return lambda trial="trial": StageRunner("run", store, handle, SimpleNamespace(**asked), trial)


def nothing(context) -> None:
    pass


def leave(context) -> None:
    """Publishes the checkpoint, as a training does on its way."""
    if context.stage == TRAINING:
        context.publish(CHECKPOINT, context.store.new_folder(CHECKPOINT, "left"), "left", 0.0, {})


@pytest.fixture
def ran(monkeypatch):
    """`names` of the stages that ran, in order; `does` sets what the stages of a kind do."""
    names: list[str] = []

    def does(kind: str, act) -> None:
        def run(context):
            names.append(context.stage.name)
            act(context)
            return {}

        monkeypatch.setitem(stage_runner.KINDS, kind, SimpleNamespace(run=run))

    for kind, act in {"model": nothing, "train": leave, "sample": nothing}.items():
        does(kind, act)
    return SimpleNamespace(names=names, does=does)


def test_inputs_run_first_and_nothing_runs_twice(runner_of, ran):
    first = runner_of()
    first.ensure([ASKED])
    first.ensure([ASKED, TRAINING])
    runner_of("another").ensure([ASKED, TRAINING])
    assert ran.names == ["base", "student", "asked"]


def test_trials_share_one_execution(runner_of, ran):
    trials, contended = 4, threading.Event()
    waiting: set[int] = set()

    def sleep(seconds: float) -> None:
        """The stage ends when all other trials wait for it."""
        waiting.add(threading.get_ident())
        if len(waiting) == trials - 1:
            contended.set()
        contended.wait(LONG)

    ran.does("model", lambda context: contended.wait(LONG))
    with ThreadPoolExecutor(trials) as pool:
        records = list(pool.map(lambda i: replace(runner_of(f"trial {i}"), sleep=sleep).ensure([BASE]), range(trials)))
    assert contended.is_set()
    assert ran.names == ["base"]
    assert len({record["attempt"] for (record,) in records}) == 1


def test_a_checkpoint_is_evaluated_while_its_training_continues(runner_of, ran, store, event_log):
    measured, over = threading.Event(), threading.Event()

    def training(context):
        leave(context)
        assert measured.wait(LONG), "the checkpoint was not evaluated"
        assert store.record(TRAINING) is None
        over.set()

    ran.does("train", training)
    ran.does("sample", lambda context: measured.set())
    trial = runner_of()
    trial.ensure([ASKED])
    trial.ensure([TRAINING])
    trial._background.shutdown()  # It logs the training's end after the record is written.
    assert over.is_set()
    assert ran.names == ["base", "student", "asked"]
    done = [event.address for event in event_log.news(0).events if event.what == "finished"]
    assert sorted(done) == sorted(stage.address for stage in (BASE, CHECKPOINT, TRAINING, ASKED))


@pytest.mark.parametrize("before", [True, False], ids=["finished before", "resumed after it"])
def test_a_checkpoint_that_the_training_has_not_published_runs_alone(runner_of, ran, store, event_log, before):
    ran.does("train", nothing)
    if before:
        runner_of("before").ensure([TRAINING])
    runner_of().ensure([CHECKPOINT])
    assert ran.names == ["base", "student", "student-at-2"]
    assert store.record(CHECKPOINT) is not None
    finished = [event.address for event in event_log.news(0).events if event.what == "finished"]
    assert finished == [BASE.address, TRAINING.address, CHECKPOINT.address]


def test_a_training_that_fails_fails_its_checkpoint_too(runner_of, ran, event_log, store):
    def training(context):
        raise ValueError("the loss is nan")

    ran.does("train", training)
    with pytest.raises(StageFailed, match="ValueError: the loss is nan") as failed:
        runner_of().ensure([ASKED])
    assert (failed.value.stage, failed.value.here) == (TRAINING, True)
    assert ran.names == ["base", "student"]
    assert [event.address for event in event_log.news(0).events if event.what == "failed"] == [TRAINING.address]
    with pytest.raises(StageFailed, match="the loss is nan") as failed:
        runner_of("another").ensure([CHECKPOINT])
    assert (failed.value.stage, failed.value.here) == (TRAINING, False)
    assert ran.names == ["base", "student"], "a failed stage is not tried again in the same run"
    assert store.names(TRAINING.address) == ["failure.txt"], "a failed attempt leaves its reason, and no files"
    assert store.failure(TRAINING.address).startswith("ValueError: the loss is nan")
    ran.does("train", nothing)
    event_log._failures.clear()  # another run
    (record,) = runner_of("later").ensure([TRAINING])
    assert store.names(TRAINING.address) == sorted([record["attempt"], "record.json"])


def test_a_training_that_fails_after_its_checkpoint_keeps_the_checkpoint(runner_of, ran, store):
    def training(context):
        leave(context)
        raise ValueError("the loss is nan")

    ran.does("train", training)
    trial = runner_of()
    trial.ensure([ASKED])
    with pytest.raises(StageFailed, match="the loss is nan") as failed:
        trial.ensure([TRAINING])
    assert failed.value.stage == TRAINING
    assert store.record(ASKED) is not None


def events(event_log: EventLog, stage: Stage) -> list[str]:
    return [event.what for event in event_log.news(0).events if event.address == stage.address]


def test_a_stage_that_another_run_runs_is_not_queued_for_resources(runner_of, ran, store, event_log):
    lease = LeaseRequest(store, BASE_AS_TASK.address).attempt()
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            assert event_log.news(0).events == []
            lease.release()

    replace(runner_of(), sleep=sleep).ensure([BASE_AS_TASK])
    assert (len(waited), ran.names) == (3, ["base"])
    assert events(event_log, BASE_AS_TASK) == ["waiting", "started", "finished"]


def test_a_queued_stage_is_left_to_the_run_that_gets_resources(runner_of, ran, store, monkeypatch):
    """While the task of one run waits for its resources, another run runs the stage."""
    task = stage_runner._perform_as_task.remote

    def late(*arguments):
        monkeypatch.setattr(stage_runner._perform_as_task, "remote", task)
        replace(runner_of("another"), run="another").ensure([BASE_AS_TASK])
        return task(*arguments)

    runner = runner_of()
    monkeypatch.setattr(stage_runner._perform_as_task, "remote", late)
    runner.ensure([BASE_AS_TASK])
    assert ran.names == ["base"]
    assert store.names(BASE_AS_TASK.address) == sorted(["record.json", store.record(BASE_AS_TASK)["attempt"]])


@pytest.mark.parametrize(("progress", "attempts"), [(False, 3), (True, 6)])
def test_losses_with_progress_are_not_counted(runner_of, ran, store, progress, attempts):
    def lost(context):
        if progress and len(ran.names) < 4:
            context.append_partial("piece\n")
        raise WorkerCrashedError

    ran.does("model", lost)
    with pytest.raises(StageFailed, match="WorkerCrashedError"):
        runner_of().ensure([replace(BASE_AS_TASK, runtime=Runtime(cpus=1, retries=2))])
    assert len(ran.names) == attempts


@pytest.mark.parametrize("stage", [BASE, BASE_AS_TASK], ids=["here", "as a task"])
def test_an_attempt_that_was_taken_over_waits_for_its_successor(runner_of, ran, store, event_log, stage):
    def frozen(context):
        taken = LeaseRequest(store, stage.address, ended=store.read(f"{stage.address}/lease-1")).attempt()
        ran.does("model", nothing)
        try:
            context.append_partial("late\n")
        finally:
            assert store.names(f"{stage.address}/partial") == []
            taken.release()

    ran.does("model", frozen)
    runner_of().ensure([stage])
    assert ran.names == ["base", "base"]
    assert "failed" not in events(event_log, stage)


def test_an_attempt_that_was_slower_than_another_is_not_a_failure(runner_of, ran, store, event_log):
    def training(context):
        out = context.store.new_folder(TRAINING, "faster")
        context.publish(TRAINING, out, "faster", 0.0, {})
        raise FileNotFoundError("this attempt's folder is gone")

    ran.does("train", training)
    (record,) = runner_of().ensure([TRAINING])
    assert record["attempt"] == "faster"
    assert [event for event in event_log.news(0).events if event.what == "failed"] == []
