"""A trial: which of its stages run at once, and what it reports."""

import threading
from types import SimpleNamespace

import pytest

from orchestrator.plan.build import build_plan
from orchestrator.run import trial as module
from orchestrator.run.stage_runner import StageFailed


class Runner:
    """In the place of a stage runner: `started` notes the stages, `wait` is called before each batch of them."""

    def __init__(self, fails=lambda stage: None, wait=lambda stages: None):
        self.started, self._fails, self._wait = [], fails, wait

    def ensure(self, stages):
        stages = list(stages)
        self.started.append(stages)
        self._wait(stages)
        for stage in stages:
            if (here := self._fails(stage)) is not None:
                raise StageFailed(stage, "no memory", here=here)
        return [{"facts": {"accuracy": 0.5, "n": 20, "truncated": 0.0}} for _ in stages]


@pytest.fixture
def run(small, monkeypatch):
    """Runs the trial of `small` with a recovery; returns what it reports, and the stages that it skips."""
    reported, skipped = [], []
    plan = build_plan(small())
    number = next(i for i, trial in enumerate(plan.trials) if trial.recovery)
    monkeypatch.setattr(module.ray, "get", lambda value: value)
    monkeypatch.setattr(module, "_plan", lambda ref: plan)
    monkeypatch.setattr(module.tune, "report", reported.append)
    log = SimpleNamespace(skip=SimpleNamespace(remote=lambda *given: skipped.append(given[0])))
    allocator = SimpleNamespace(forget=SimpleNamespace(remote=lambda key: None))

    def act(runner):
        monkeypatch.setattr(module, "StageRunner", lambda *_: runner)
        module.run_trial({"trial": number}, None, "run", log, allocator)
        return reported, skipped

    return SimpleNamespace(act=act, trial=plan.trials[number])


def test_all_points_and_the_untrained_models_run_at_once(run):
    parts = 1 + len(run.trial.points)
    together = threading.Barrier(parts, timeout=10)
    wanted = [list(run.trial.references()), *(list(point.stages()) for point in run.trial.points)]

    def wait(stages):
        if stages in wanted:
            together.wait()

    reported, skipped = run.act(Runner(wait=wait))
    assert [one["budget"] for one in reported] == [point.budget for point in run.trial.points]
    assert skipped == []


def test_a_point_that_fails_leaves_the_others(run):
    last = next(iter(run.trial.points[-1].stages()))
    reported, skipped = run.act(Runner(fails=lambda stage: True if stage is last else None))
    assert [one["budget"] for one in reported] == [point.budget for point in run.trial.points[:-1]]
    assert skipped == []


def test_a_trial_whose_stage_failed_in_another_trial_is_skipped(run):
    last = next(iter(run.trial.points[-1].stages()))
    _, skipped = run.act(Runner(fails=lambda stage: False if stage is last else None))
    assert skipped == [last]
