"""How far a trial has gone, read off records."""

import pytest

from orchestrator.plan import unfold
from orchestrator.trial import metrics, steps_walked


def record(accuracy: float) -> dict:
    return {"facts": {"accuracy": accuracy}}


def records_of(trial, by_budget: dict[int, float], original: float = 0.8, at: float | None = None) -> dict:
    """Every evaluation of the trial up to the budgets that are given, and `at` checkpoints, all benchmarks alike."""
    found = {stage: record(original) for stage in (*trial.original.values(), *trial.teacher_scores.values())}
    for step in trial.steps:
        accuracy = by_budget.get(step.budget) if step.at is None else at
        if accuracy is not None:
            found |= {stage: record(accuracy) for stage in step.scores.values()}
    return found


@pytest.fixture
def stopping(small):
    """A study that stops at 90 %, and its first off-model trial, with budgets 0, 4, 8 and 16."""
    study = small("recovery.stop={benchmark: maths, recovered: 0.9}", "recovery.budgets=[4, 8, 16]")
    return study, next(t for t in unfold(study).trials if t.condition == "off-model")


def budgets(walked) -> list[int]:
    return [step.budget for step in walked]


def test_a_trial_ends_at_the_first_budget_that_recovers(stopping):
    study, trial = stopping
    assert budgets(steps_walked(trial, study, records_of(trial, {0: 0.1, 4: 0.73, 8: 0.2, 16: 0.8}))) == [0, 4]


def test_exactly_the_share_of_the_rule_is_enough(small):
    study = small("recovery.stop={benchmark: maths, recovered: 0.5}")
    trial = next(t for t in unfold(study).trials if t.condition == "off-model")
    assert budgets(steps_walked(trial, study, records_of(trial, {0: 0.1, 4: 0.4}, original=0.8))) == [0, 4]


def test_what_comes_after_the_stop_need_not_be_there(stopping):
    study, trial = stopping
    assert budgets(steps_walked(trial, study, records_of(trial, {0: 0.1, 4: 0.5, 8: 0.75}))) == [0, 4, 8]


def test_a_student_that_lost_nothing_needs_no_budget(stopping):
    study, trial = stopping
    assert budgets(steps_walked(trial, study, records_of(trial, {0: 0.79}))) == [0]


def test_a_trial_that_never_recovers_goes_through_all_budgets(stopping):
    study, trial = stopping
    scores = {0: 0.1, 4: 0.2, 8: 0.3, 16: 0.71}
    assert budgets(steps_walked(trial, study, records_of(trial, scores))) == [0, 4, 8, 16]


def test_a_trial_that_has_not_recovered_yet_is_not_finished(stopping):
    study, trial = stopping
    assert steps_walked(trial, study, records_of(trial, {0: 0.1, 4: 0.2})) is None


@pytest.mark.parametrize("which", ["original", "teacher_scores", "steps"])
def test_a_trial_is_not_finished_while_one_evaluation_is_missing(stopping, which):
    study, trial = stopping
    records = records_of(trial, {0: 0.1, 4: 0.8})
    assert steps_walked(trial, study, records) is not None
    scores = trial.steps[1].scores if which == "steps" else getattr(trial, which)
    del records[scores["facts"]]
    assert steps_walked(trial, study, records) is None


def test_without_a_stop_rule_every_budget_is_needed(small):
    study = small()
    trial = next(t for t in unfold(study).trials if t.condition == "off-model")
    assert steps_walked(trial, study, records_of(trial, {0: 0.8, 4: 0.8})) is None
    assert budgets(steps_walked(trial, study, records_of(trial, {0: 0.8, 4: 0.8, 8: 0.8}))) == [0, 4, 8]


def test_only_the_benchmark_of_the_rule_stops_a_trial(stopping):
    study, trial = stopping
    records = records_of(trial, {0: 0.1, 4: 0.1, 8: 0.1, 16: 0.1})
    records[trial.steps[1].scores["facts"]] = record(1.0)
    assert len(steps_walked(trial, study, records)) == 4


def test_the_share_is_of_the_original_students_score(stopping):
    study, trial = stopping
    step = trial.steps[1]

    def recovered(after, before):
        original = {name: record(before) for name in trial.original}
        return metrics(step, {name: record(after) for name in step.scores}, original, study)["recovered"]

    assert recovered(0.2, 0.8) == pytest.approx(0.25)
    assert recovered(0.3, 0.2) == pytest.approx(1.5)
    assert recovered(0.0, 0.0) == 1.0


def test_a_step_reports_its_budget_and_scores(small):
    study = small()
    trial = next(t for t in unfold(study).trials if t.condition == "prefill")
    reported = metrics(trial.steps[0], {"maths": record(0.25)}, {}, study)
    assert reported == {"budget": 0, "maths": 0.25}


@pytest.fixture
def watched(small):
    """As `stopping`, with two checkpoints of the first training."""
    study = small("recovery.stop={benchmark: maths, recovered: 0.9}", "train.checkpoints=[1, 2]")
    return study, next(t for t in unfold(study).trials if t.condition == "off-model")


def test_a_checkpoint_never_stops_a_trial(watched):
    study, trial = watched
    walked = steps_walked(trial, study, records_of(trial, {0: 0.1, 4: 0.8}, at=0.8))
    assert [(step.budget, step.at) for step in walked] == [(0, 1), (0, 2), (0, None), (4, None)]


def test_a_trial_is_not_finished_while_a_checkpoint_is_not_measured(watched):
    study, trial = watched
    assert steps_walked(trial, study, records_of(trial, {0: 0.8, 4: 0.8})) is None


def test_a_checkpoint_reports_scores_that_no_rule_looks_at(watched):
    study, trial = watched
    records, original = ({name: record(value) for name in trial.original} for value in (0.4, 0.8))
    at, end = (metrics(step, records, original, study) for step in trial.steps[1:3])
    assert at == {"budget": 0, "maths": 0.4, "facts": 0.4}
    assert end == {**at, "recovered": 0.5}
