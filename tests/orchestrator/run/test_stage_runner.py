"""Getting stages done: what runs, in which order, and what is told of failures. Ray's part is played by functions."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestrator.run import stage_runner
from orchestrator.run.event_log import EventLog
from orchestrator.run.stage_runner import StageFailed, StageRunner, perform
from orchestrator.stages import train
from orchestrator.store.stage import Stage
from orchestrator.store.store import Store
from orchestrator.study.resources import TrainResources
from trainers.settings import TrainSettings

BASE = Stage("model", 1, "base", {})
SETTINGS = train.TrainStageSettings(
    train=TrainSettings(learning_rate=1.0, seed=1, dtype="float32"),
    examples=train.Completions(rows=None),
    sampling=None,
)
RUNTIME = train.TrainRuntime(resources=TrainResources(), checkpoints=(2,), cpus=1)
WHOLE = Stage("train", 1, "student", SETTINGS, {"base": BASE}, RUNTIME)
PART = train.at_step(WHOLE, 2)
ASKED = Stage("sample", 1, "asked", {}, {"student": PART})
LONG = 10.0  # seconds in which what is waited for happens many times over


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
def board():
    return EventLog()


@pytest.fixture
def site(store, board, monkeypatch):
    """Makes the site of a trial."""
    monkeypatch.setattr(stage_runner.ray, "get", lambda value: value)
    elsewhere = Remote(lambda stage, uri, run: perform(stage, Store(uri), run))
    monkeypatch.setattr(stage_runner, "_perform_elsewhere", elsewhere)
    methods = ("start", "finish", "fail", "failure")
    handle = SimpleNamespace(**{name: Remote(getattr(board, name)) for name in methods})
    return lambda trial="trial": StageRunner("run", store, handle, trial)


def nothing(work) -> None:
    pass


def leave(work) -> None:
    """What a training does when it has come to its checkpoint."""
    if work.stage == WHOLE:
        work.publish(PART, work.store.new_folder(PART, "left"), "left", 0.0, {})


@pytest.fixture
def ran(monkeypatch):
    """`names` of the stages that ran, in order; `does` sets what the stages of a kind do."""
    names: list[str] = []

    def does(kind: str, act) -> None:
        def run(work):
            names.append(work.stage.name)
            act(work)
            return {}

        monkeypatch.setitem(stage_runner.KINDS, kind, SimpleNamespace(run=run))

    for kind, act in {"model": nothing, "train": leave, "sample": nothing}.items():
        does(kind, act)
    return SimpleNamespace(names=names, does=does)


def test_what_a_stage_needs_is_done_first_and_nothing_twice(site, ran):
    first = site()
    first.ensure([ASKED])
    first.ensure([ASKED, WHOLE])
    site("another").ensure([ASKED, WHOLE])
    assert ran.names == ["base", "student", "asked"]


def test_trials_share_one_execution(site, ran):
    trials, contended = 4, threading.Event()
    waiting: set[int] = set()

    def sleep(seconds: float) -> None:
        """The stage ends when all other trials wait for it."""
        waiting.add(threading.get_ident())
        if len(waiting) == trials - 1:
            contended.set()
        contended.wait(LONG)

    ran.does("model", lambda work: contended.wait(LONG))
    with ThreadPoolExecutor(trials) as pool:
        records = list(pool.map(lambda i: replace(site(f"trial {i}"), sleep=sleep).ensure([BASE]), range(trials)))
    assert contended.is_set()
    assert ran.names == ["base"]
    assert len({record["attempt"] for (record,) in records}) == 1


def test_a_checkpoint_is_measured_while_its_training_goes_on(site, ran, store, board):
    measured, over = threading.Event(), threading.Event()

    def training(work):
        leave(work)
        assert measured.wait(LONG), "nobody measured the checkpoint"
        assert store.record(WHOLE) is None
        over.set()

    ran.does("train", training)
    ran.does("sample", lambda work: measured.set())
    trial = site()
    trial.ensure([ASKED])
    trial.ensure([WHOLE])
    trial._background.shutdown()  # It tells of the training's end after the record is there.
    assert over.is_set()
    assert ran.names == ["base", "student", "asked"]
    done = [event.address for event in board.events(0) if event.what == "finished"]
    assert sorted(done) == sorted(stage.address for stage in (BASE, PART, WHOLE, ASKED))


@pytest.mark.parametrize("before", [True, False], ids=["done before", "gone past it"])
def test_a_checkpoint_that_the_training_did_not_leave_is_run_by_itself(site, ran, store, board, before):
    ran.does("train", nothing)
    if before:
        site("before").ensure([WHOLE])
    site().ensure([PART])
    assert ran.names == ["base", "student", "student-at-2"]
    assert store.record(PART) is not None
    finished = [event.address for event in board.events(0) if event.what == "finished"]
    assert finished == [BASE.address, WHOLE.address, PART.address]


def test_a_training_that_fails_fails_its_checkpoint_too(site, ran, board, store):
    def training(work):
        raise ValueError("the loss is nan")

    ran.does("train", training)
    with pytest.raises(StageFailed, match="ValueError: the loss is nan") as failed:
        site().ensure([ASKED])
    assert (failed.value.stage, failed.value.here) == (WHOLE, True)
    assert ran.names == ["base", "student"]
    assert [event.address for event in board.events(0) if event.what == "failed"] == [WHOLE.address]
    with pytest.raises(StageFailed, match="the loss is nan") as failed:
        site("another").ensure([PART])
    assert (failed.value.stage, failed.value.here) == (WHOLE, False)
    assert ran.names == ["base", "student"], "what failed in a run is not tried again in it"
    assert list(Path(store.root, WHOLE.address).iterdir()) == [], "an attempt that failed leaves nothing"


def test_a_training_that_fails_after_its_checkpoint_leaves_it(site, ran, store):
    def training(work):
        leave(work)
        raise ValueError("the loss is nan")

    ran.does("train", training)
    trial = site()
    trial.ensure([ASKED])
    with pytest.raises(StageFailed, match="the loss is nan") as failed:
        trial.ensure([WHOLE])
    assert failed.value.stage == WHOLE
    assert store.record(ASKED) is not None


def test_an_attempt_that_another_one_was_faster_than_is_no_failure(site, ran, store, board):
    def training(work):
        out = work.store.new_folder(WHOLE, "faster")
        work.publish(WHOLE, out, "faster", 0.0, {})
        raise FileNotFoundError("this attempt's folder is gone")

    ran.does("train", training)
    (record,) = site().ensure([WHOLE])
    assert record["attempt"] == "faster"
    assert [event for event in board.events(0) if event.what == "failed"] == []
