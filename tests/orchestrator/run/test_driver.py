"""The driver's thread that reads the event log, and the summary. Functions take the place of Ray."""

import io
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray
from rich.console import Console

from orchestrator.cli import main
from orchestrator.plan.build import build_plan
from orchestrator.plan.state import state_of
from orchestrator.run import driver, engines, preflight, stage_runner
from orchestrator.run.driver import Outcome, Watcher, trials_by_task
from orchestrator.run.event_log import EventLog
from orchestrator.run.nodes import NodeUse
from orchestrator.run.summary import show_summary
from orchestrator.run.tracking import Tracker
from orchestrator.store.stage import Stage
from orchestrator.store.store import Store
from perf import empty_stages
from tests.orchestrator.results.test_results import failed_late, publish_evaluation

STAGE = Stage("train", 1, "student", {})

ROOT = Path(__file__).parents[3]


def test_events_are_read_also_after_an_error_of_the_console(monkeypatch, caplog):
    def update(news):
        raise BrokenPipeError("the terminal is closed")

    event_log = EventLog()
    monkeypatch.setattr(ray, "get", lambda value: value)
    watcher = Watcher(SimpleNamespace(news=SimpleNamespace(remote=event_log.news)), SimpleNamespace(update=update))
    event_log.start(STAGE, "one")
    watcher._read()
    event_log.fail(STAGE, "one", "no memory")
    watcher._read()
    assert [event.what for event in watcher.events] == ["started", "failed"]
    assert caplog.text.count("BrokenPipeError: the terminal is closed") == 1


@pytest.mark.parametrize("reported", [True, False])
def test_names_in_the_summary_are_not_markup(small, reported):
    event_log, out = EventLog(), io.StringIO()
    event_log.fail(STAGE, "one.[/b]", "[/i]")
    event_log.skip(STAGE, "two.[/b]", "")
    report = SimpleNamespace(results=SimpleNamespace())
    nodes = {"gpu [x]": NodeUse(seconds=7200, idle_seconds=720, most=3)}
    outcome = Outcome(event_log.news(0).events if reported else [], nodes, report, (0.0, 0.0))
    show_summary(Console(file=out, width=200), build_plan(small()), outcome, 0.0)
    assert "Nodes during the run: 3 gpu [x] at most, 2 node hours, 10% of it idle\n" in out.getvalue()
    assert ("one.[/b] failed: train/student" in out.getvalue()) is reported
    assert ("two.[/b] not run" in out.getvalue()) is reported


@pytest.mark.parametrize(
    ("address", "message", "starts"),
    [
        (None, "The current node timed out during startup. This could happen", 3),
        (None, "no such option", 1),
        ("auto", "The current node timed out during startup. This could happen", 1),
    ],
)
def test_a_local_ray_that_a_busy_machine_has_not_started_is_started_again(small, monkeypatch, address, message, starts):
    called = []

    def init(*_, **__):
        called.append(True)
        raise RuntimeError(message)

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(RuntimeError, match=message[:10]):
        driver.start_ray(address, small())
    assert len(called) == starts


def test_what_most_trials_need_is_known(small):
    alone = ("pairs.teachers=[words]", "seeds=[1]", "recoveries.own.budgets=[4]")
    plan = build_plan(small(*alone, "conditions={off-model: , on-model: }"))
    store = Store(plan.study.store)
    found = trials_by_task(plan, state_of(plan, store))
    first = plan.trials[0].points[0].student
    # off-model, with its recovery, and on-model
    assert [trial.key for trial in plan.trials] == ["student.words.off-model.own.s1", "student.words.on-model.s1"]
    assert found[first.address] == 1
    assert set(found) == {stage.address for stage in plan.stages if stage.runtime.cpus is not None}
    twice = build_plan(small(*alone, "conditions={off-model: , prefill: {tokens: 2, benchmarks: [maths]}}"))
    found = trials_by_task(twice, state_of(twice, store))
    assert found[first.address] == len(twice.trials) == 2


def run_without_ray(plan, monkeypatch, during=lambda: None) -> tuple[Outcome, list[tuple], list[bool]]:
    """The outcome of a run in which `during` takes the place of all trials, and what MLflow is given."""
    logged: list[tuple] = []
    reports: list[bool] = []
    tracker = SimpleNamespace(
        trial=lambda *given: logged.append(given), report=lambda files, complete: reports.append(complete)
    )

    def trials(*_):
        during()
        return [], {}

    monkeypatch.setattr(driver, "_run_trials", trials)
    return driver.run_study(plan, None, tracker, None), logged, reports


def test_a_trial_whose_last_budget_is_skipped_is_logged_as_finished(small, publish, monkeypatch):
    plan = build_plan(small("pairs.teachers=[words]", "conditions={off-model: }", "seeds=[1]"))
    store, (trial,) = Store(plan.study.store), plan.trials

    def during() -> None:
        publish(store, trial.points[1].student.inputs["data"], {}, n=20, truncated=0.7)
        done = [trial.untrained_scores, trial.teacher_scores, *(point.scores for point in trial.points[:2])]
        for stage in {stage for scores in done for stage in scores.values()}:
            publish_evaluation(publish, store, stage, "++--")

    outcome, ((_, points, _, missing),), reports = run_without_ray(plan, monkeypatch, during)
    assert ([point.budget for point in points], missing, reports) == ([0, 4], "", [True])
    assert [one.budget for one in outcome.report.results.short_budgets] == [8]


def test_a_trial_that_ends_at_a_late_point_is_logged_with_its_finished_points(small, publish, monkeypatch):
    plan, _ = failed_late(small, publish, "ValueError: no memory")
    (trial,) = plan.trials
    before, four, _ = trial.points
    outcome, logged, reports = run_without_ray(plan, monkeypatch)
    ((of, points, _, missing),) = logged
    assert (of, points, reports) == (trial, [before], [False])
    assert f"off-model, then 4 own: {four.student.address}: ValueError: no memory" in missing
    assert len(outcome.report.files["scores.csv"].splitlines()) == 1 + len(before.scores)


@pytest.mark.slow
def test_a_trial_whose_process_is_lost_is_tried_again(tmp_path, monkeypatch):
    def lose_a_trial():
        """In every process: stages do nothing, but the first one ends the process of its trial."""
        empty_stages.use_empty_stages()
        model = stage_runner.KINDS["model"]

        def run(context):
            lost = Path(context.store.root, "lost")
            if not lost.exists():
                lost.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return model.run(context)

        stage_runner.KINDS["model"] = SimpleNamespace(run=run)

    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # The processes of Ray import perf.
    monkeypatch.setattr(engines, "deploy", lambda *_: None)
    monkeypatch.setattr(preflight, "check", lambda *_: None)
    study = empty_stages.make_study(20, str(tmp_path / "runs"))
    resources = study.resources.model_copy(update={"retries": 1, "max_concurrent_trials": 1})
    plan = build_plan(study.model_copy(update={"resources": resources}))
    driver.start_ray(None, plan.study, worker_process_setup_hook=lose_a_trial)
    tracker = Tracker(plan)
    tracker.start()
    outcome = driver.run_study(plan, None, tracker, None)
    assert tracker.finish() is None
    assert Path(plan.study.store, "lost").exists()
    assert outcome.failed == []
    assert outcome.report.results.unfinished == []


def test_a_run_that_does_not_fit_on_this_machine_is_refused_before_ray_starts(small, monkeypatch, capsys, tmp_path):
    small()  # writes the file
    monkeypatch.setattr(driver, "start_ray", lambda *_: pytest.fail("Ray was started"))
    command = ["run", str(tmp_path / "small.yaml"), f"store={tmp_path / 'runs'}", "resources.cpus=1"]
    command.append("resources.train.cpus=2")
    monkeypatch.setattr("sys.argv", ["offmodel", *command])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    settings = "set resources.train.cpus=1"
    assert f"and there are 1 (resources.cpus): {settings}" in capsys.readouterr().err
    assert not [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
