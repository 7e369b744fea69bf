"""Tracking with a real MLflow, on SQLite and on a tracking server with PostgreSQL.

Each trial has one run, whatever fails and whoever else writes.
"""

import multiprocessing
import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from orchestrator.plan.build import build_plan
from orchestrator.plan.points import completed_points
from orchestrator.plan.trial import Plan
from orchestrator.run import mlflow_database
from orchestrator.run.mlflow_data import digest
from orchestrator.run.mlflow_runs import FOLDER, ID_TAG, MISSING_TAG, TRIAL_TAG, StudyRuns
from orchestrator.run.tracking import PATIENCE, Tracker, tracking_uri
from orchestrator.stages.train import STEPS
from orchestrator.store.leases import LeaseRequest
from orchestrator.store.store import Store
from tests.tracking_server import TrackingServer, postgresql

pytestmark = pytest.mark.slow

EVALUATED = {
    "n": 20,
    "accuracy": 0.5,
    "truncated": 0.0,
    "unparsed": 0.0,
    "mean_length": 3.0,
    "figures": {},
    "groups": {},
}
CURVE = b'{"step": 0, "loss": 2.0}\n{"step": 1, "loss": 1.0}\n'
STUDY = [
    "pairs.teachers=[words]",
    "conditions={off-model: , on-model: }",
    "recoveries={own samples (512): {kind: on_model_sft, conditions: [off-model], budgets: [4]}}",
]


class Time:
    """A clock that only `sleep` moves. `then` is called after a number of sleeps."""

    def __init__(self, sleeps: int = 0, then: Callable[[], object] = lambda: None):
        self.now, self._left, self._then = 0.0, sleeps, then

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self._left -= 1
        if self._left == 0:
            self._then()


@pytest.fixture(scope="module")
def database(tmp_path_factory) -> Path:
    """A new MLflow database, which takes seconds to create."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    mlflow_database.connect(f"sqlite:///{path}")
    return path


@pytest.fixture
def done(small, publish, database):
    """The plan of a study with 4 trials and the given overrides, whose stages are all done."""

    def act(*overrides: str) -> Plan:
        plan = build_plan(small(*STUDY, *overrides))
        store = Store(plan.study.store)
        Path(store.root).mkdir(exist_ok=True)
        shutil.copy(database, store.root)
        for stage in plan.stages:
            publish(store, stage, {STEPS: CURVE}, **EVALUATED)
        return plan

    return act


def started(plan: Plan, time: Time) -> Tracker:
    tracker = Tracker(plan, clock=time.clock, sleep=time.sleep)
    tracker.start()
    return tracker


def hand_over(tracker: Tracker, plan: Plan, trials: slice = slice(None)) -> None:
    """Give a tracker some finished trials of a plan."""
    records = Store(plan.study.store).records(plan.stages)
    for trial in plan.trials[trials]:
        points = completed_points(trial, plan.study, records)
        assert points is not None
        tracker.trial(trial, points, records)


def track(plan: Plan, time: Time | None = None, *, complete: bool = True) -> str | None:
    """Track a finished study."""
    tracker = started(plan, time or Time())
    hand_over(tracker, plan)
    tracker.report({"report.html": b"complete" if complete else b"incomplete"}, complete)
    return tracker.finish()


def runs(plan: Plan) -> tuple[list, list]:
    """The runs of studies and of trials in MLflow."""
    client = MlflowClient(tracking_uri(plan.study))
    found = client.search_runs([client.get_experiment_by_name(plan.study.tracking.experiment).experiment_id])
    children = [run for run in found if "mlflow.parentRunId" in run.data.tags]
    return [run for run in found if run not in children], children


def assert_each_trial_once(plan: Plan) -> None:
    (parent,), children = runs(plan)
    assert Counter(run.info.run_name for run in children) == Counter(trial.key for trial in plan.trials)
    assert {run.info.status for run in (parent, *children)} == {"FINISHED"}
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert parent.data.params["recoveries.own samples _512_.budgets"] == "[4]"
    assert {dataset.dataset.name for dataset in parent.inputs.dataset_inputs} == {"training prompts", "maths", "facts"}
    client = MlflowClient(tracking_uri(plan.study))
    for run in children:
        assert run.data.params["tuning"] == "lora"
        losses = client.get_metric_history(run.info.run_id, "training/loss")
        assert [(one.step, one.value) for one in losses] == [(0, 2.0), (1, 1.0)]
    assert [artifact.path for artifact in client.list_artifacts(parent.info.run_id)] == ["report.html"]


def test_each_trial_has_one_run_although_the_study_is_tracked_again(done):
    plan = done()
    assert track(plan) is None
    before = [run.info.run_id for run in runs(plan)[1]]
    assert track(plan) is None
    assert_each_trial_once(plan)
    assert [run.info.run_id for run in runs(plan)[1]] == before
    assert os.listdir(Path(plan.study.store) / FOLDER) == ["store-id"], "a lease is left"


@pytest.mark.parametrize(
    ("name", "answered"),
    [
        ("search_experiments", False),
        ("create_experiment", True),
        ("create_run", True),
        ("log_batch", True),
        ("log_inputs", True),
        ("set_terminated", True),
        ("set_terminated", False),
        ("log_artifacts", True),
    ],
)
def test_any_request_may_fail_before_or_after_it_is_answered(done, monkeypatch, name, answered):
    plan, request, failed = done(), getattr(MlflowClient, name), []

    def once(*arguments, **named):
        if failed:
            return request(*arguments, **named)
        failed.append(name)
        if answered:
            request(*arguments, **named)
        raise ConnectionError("the connection is lost")

    monkeypatch.setattr(MlflowClient, name, once)
    assert track(plan) is None
    assert failed
    assert_each_trial_once(plan)


def test_two_trackers_of_a_study_write_each_trial_once(done):
    plan = done()
    both = [Tracker(plan), Tracker(plan)]
    for tracker in both:
        tracker.start()
    hand_over(both[0], plan, slice(0, 3))
    hand_over(both[1], plan, slice(1, None))
    for tracker in both:
        tracker.report({"report.html": b""}, complete=True)
    for tracker in both:
        assert tracker.finish() is None
    assert_each_trial_once(plan)


def test_a_trial_that_another_driver_writes_is_left_to_it_until_that_driver_ends(done):
    plan = done()
    tracker = started(plan, Time())
    hand_over(tracker, plan, slice(1, None))
    assert tracker.finish() is None
    (parent,), (sibling, *_) = runs(plan)
    identity = digest(parent.info.run_id, plan.trials[0].key)
    lease = LeaseRequest(Store(plan.study.store), FOLDER, name=identity).attempt()
    tags = {**sibling.data.tags, ID_TAG: identity, TRIAL_TAG: plan.trials[0].key}
    client = MlflowClient(tracking_uri(plan.study))
    theirs = client.create_run(sibling.info.experiment_id, tags=tags).info.run_id
    missing = track(plan)
    assert "1 trial is not in MLflow yet (another run of this study is writing to MLflow)" in missing
    client.log_param(theirs, "still", "there")  # as for a run that was not deleted
    lease.release()
    assert track(plan) is None
    assert_each_trial_once(plan)
    assert theirs not in {run.info.run_id for run in runs(plan)[1]}


def test_a_driver_that_was_stopped_while_it_wrote_does_not_finish_the_run(done, monkeypatch):
    plan, log_params, stopped = done(), StudyRuns._log_params, []

    def stop_meanwhile(writer, run, params):
        log_params(writer, run, params)
        if TRIAL_TAG in run.data.tags and not stopped:  # Its lease is taken for that of a lost driver.
            stopped.append(run.info.run_id)
            store = Store(plan.study.store)
            (name,) = {one for one in store.names(FOLDER) if one != "store-id"}
            LeaseRequest(store, FOLDER, seconds=0.0, name=name.rpartition("-")[0]).attempt().release()

    monkeypatch.setattr(StudyRuns, "_log_params", stop_meanwhile)
    assert track(plan) is None
    assert_each_trial_once(plan)
    assert stopped[0] not in {run.info.run_id for run in runs(plan)[1]}


def test_one_trial_that_mlflow_refuses_does_not_hold_up_the_others(done, monkeypatch):
    plan, write = done(), StudyRuns._write_trial

    def refuse(runs, tags, trial, *arguments):
        if trial is plan.trials[0]:
            raise ValueError("refused\nfor a reason")
        write(runs, tags, trial, *arguments)

    monkeypatch.setattr(StudyRuns, "_write_trial", refuse)
    assert track(plan) == ("1 trial is not in MLflow yet (refused); run the same command again to log what is missing")
    (parent,), children = runs(plan)
    assert len(children) == len(plan.trials) - 1
    assert parent.info.status == "RUNNING"
    monkeypatch.undo()
    assert track(plan) is None
    assert_each_trial_once(plan)


def test_the_finished_points_of_an_unfinished_trial_are_logged_until_it_is_finished(done):
    plan = done()
    trial = next(trial for trial in plan.trials if trial.recovery)
    records = Store(plan.study.store).records(plan.stages)
    before, after = trial.points
    missing = "off-model, then 4: train/x: ValueError: no memory"
    for _ in range(2):  # A later run that does not finish it either replaces it.
        tracker = started(plan, Time())
        tracker.trial(trial, [before], records, missing)
        assert tracker.finish() is None
    (run,) = runs(plan)[1]
    assert (run.info.status, run.data.tags[MISSING_TAG], run.data.params["budgets"]) == ("FAILED", missing, "0")
    client = MlflowClient(tracking_uri(plan.study))
    assert [one.step for one in client.get_metric_history(run.info.run_id, "maths")] == [0]
    assert track(plan) is None
    assert_each_trial_once(plan)
    (run,) = (one for one in runs(plan)[1] if one.data.tags[TRIAL_TAG] == trial.key)
    assert MISSING_TAG not in run.data.tags
    assert [one.step for one in client.get_metric_history(run.info.run_id, "maths")] == [0, after.budget]


def test_an_incomplete_report_does_not_replace_a_complete_one(done):
    plan = done()
    assert track(plan, complete=False) is None
    assert runs(plan)[0][0].info.status == "FAILED"
    assert track(plan) is None
    assert track(plan, complete=False) is None
    assert_each_trial_once(plan)
    (report,) = Path(plan.study.store).glob("mlflow-artifacts/*/artifacts/report.html")
    assert report.read_bytes() == b"complete"


def test_two_stores_do_not_share_the_run_of_a_study(done, tmp_path, database):
    shared = f"tracking.uri=sqlite:///{shutil.copy(database, tmp_path)}"
    one, other = done(shared), done(shared, f"store={tmp_path}/other")
    assert track(one) is None
    assert track(other) is None
    parents, children = runs(one)
    assert len(parents) == 2
    assert Counter(run.data.tags["mlflow.parentRunId"] for run in children) == {
        parent.info.run_id: len(one.trials) for parent in parents
    }


def break_off_migration(path: Path) -> None:
    """What two processes leave that create the database with MLflow alone at the same time."""
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE _alembic_tmp_tags (x)")
        database.execute("DROP TABLE inputs")
        database.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")


@pytest.mark.parametrize(
    "damage",
    [
        break_off_migration,
        lambda path: path.write_bytes(b"no database" * 1000),
    ],
    ids=["two processes created it", "another file"],
)
def test_a_damaged_database_is_named_with_a_way_out(done, damage):
    plan = done()
    path = Path(plan.study.store, "mlflow.db")
    damage(path)
    missing = track(plan, Time())
    assert f"{len(plan.trials)} trials are not in MLflow yet (the MLflow file {path} is damaged" in missing
    assert "move it away" in missing


def test_a_process_that_is_killed_leaves_no_half_database(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        mlflow_database.connect(f"sqlite:///{tmp_path}/mlflow.db")
    assert list(tmp_path.iterdir()) == []


def track_at_once(plans: list[Plan], together, ended) -> None:
    for plan in plans:
        tracker = Tracker(plan)
        hand_over(tracker, plan)
        tracker.report({"report.html": b""}, complete=True)
        together.wait()
        tracker.start()
        ended.put(tracker.finish())


def track_in_two_processes(plans: list[Plan]) -> None:
    """Track plans one by one in two processes that begin each at the same time."""
    context = multiprocessing.get_context("spawn")
    together, ended = context.Barrier(2), context.Queue()
    both = [context.Process(target=track_at_once, args=(plans, together, ended)) for _ in range(2)]
    for process in both:
        process.start()
    assert [ended.get(timeout=240) for _ in both for _ in plans] == [None] * len(plans) * 2
    for process in both:
        process.join()


def test_two_processes_may_create_the_database_at_the_same_time(done, tmp_path):
    plans = [done(f"store={tmp_path}/{number}") for number in range(3)]
    for plan in plans:
        Path(plan.study.store, "mlflow.db").unlink()
    track_in_two_processes(plans)
    for plan in plans:
        assert_each_trial_once(plan)


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[TrackingServer]:
    with postgresql() as database:
        server = TrackingServer(database, str(tmp_path_factory.mktemp("artifacts")))
        with server.running():
            yield server


def test_two_processes_may_write_to_a_tracking_server_at_the_same_time(done, server):
    plan = done(f"tracking={{uri: '{server.uri}', experiment: together}}")
    track_in_two_processes([plan])
    assert_each_trial_once(plan)


def test_a_tracking_server_may_be_killed_and_started_again_while_a_trial_is_written(done, server, monkeypatch):
    plan, log_params = done(f"tracking={{uri: '{server.uri}', experiment: killed}}"), StudyRuns._log_params

    def kill(runs, run, params):
        if run.info.run_name == plan.trials[2].key:
            monkeypatch.undo()
            server.kill()
        log_params(runs, run, params)

    monkeypatch.setattr(StudyRuns, "_log_params", kill)
    time = Time(3, server.start)
    assert track(plan, time) is None
    assert time.now > 0
    assert_each_trial_once(plan)


def test_a_study_whose_tracking_server_was_away_is_logged_by_the_next_run(done, server):
    plan = done(f"tracking={{uri: '{server.uri}', experiment: away}}")
    server.kill()
    time = Time()
    missing = track(plan, time)
    assert missing.startswith("4 trials are not in MLflow yet (API request to http://127.0.0.1")
    assert "run the same command again" in missing
    assert "\n" not in missing
    assert time.now >= PATIENCE
    server.start()
    assert track(plan) is None
    assert_each_trial_once(plan)
