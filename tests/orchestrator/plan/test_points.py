"""Which points a trial has run, by the records of its stages."""

import pytest

from orchestrator.plan.build import build_plan
from orchestrator.plan.points import completed_points
from orchestrator.plan.workload import most_to_run

SEARCH = ["recoveries.own.search={benchmark: maths, recovered: 0.9}", "recoveries.own.budgets=[16, 4, 8]"]


def record(accuracy: float) -> dict:
    return {"facts": {"accuracy": accuracy}}


def records_of(trial, by_budget: dict[int, float], original: float = 0.8, at: float | None = None) -> dict:
    """Every evaluation of the trial at the budgets that are given, and `at` checkpoints, all benchmarks alike."""
    found = {stage: record(original) for stage in (*trial.untrained_scores.values(), *trial.teacher_scores.values())}
    for point in trial.points:
        accuracy = by_budget.get(point.budget) if point.step is None else at
        if accuracy is not None:
            found |= {stage: record(accuracy) for stage in point.scores.values()}
    return found


def off_model(study):
    return study, next(t for t in build_plan(study).trials if t.condition == "off-model")


@pytest.fixture
def searching(small):
    """A study that searches for 90 %, and its first off-model trial, with budgets 0, 4, 8 and 16."""
    return off_model(small(*SEARCH))


def budgets(points) -> list[int]:
    return [point.budget for point in points]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ({0: 0.79}, [0]),  # nothing to recover
        ({0: 0.1, 4: 0.73, 8: 0.8}, [0, 8, 4]),
        ({0: 0.1, 4: 0.5, 8: 0.8}, [0, 8, 4]),
        ({0: 0.1, 8: 0.71, 16: 0.8}, [0, 8, 16]),
        ({0: 0.1, 8: 0.2, 16: 0.3}, [0, 8, 16]),  # never recovered
        ({0: 0.1, 4: 0.8, 8: 0.2, 16: 0.8}, [0, 8, 16]),  # budgets off the path decide nothing
    ],
)
def test_a_search_bisects(searching, scores, expected):
    study, trial = searching
    assert budgets(completed_points(trial, study, records_of(trial, scores))) == expected


def test_exactly_the_target_share_is_enough(searching):
    study, trial = searching
    before, enough, short = 40 / 200, 36 / 200, 35 / 200
    assert enough / before < 0.9, "in floating point"
    records = records_of(trial, {0: 0.0, 8: enough, 4: short}, before)
    assert budgets(completed_points(trial, study, records)) == [0, 8, 4]


def test_a_trial_whose_search_has_not_ended_is_unfinished(searching):
    study, trial = searching
    for scores in ({0: 0.1, 4: 0.8, 16: 0.8}, {0: 0.1, 8: 0.2}, {0: 0.1, 8: 0.8}, {8: 0.8, 4: 0.8}):
        assert completed_points(trial, study, records_of(trial, scores)) is None


@pytest.mark.parametrize("which", ["untrained_scores", "teacher_scores", "points"])
def test_a_trial_with_a_missing_evaluation_is_unfinished(searching, which):
    study, trial = searching
    records = records_of(trial, {0: 0.1, 4: 0.8, 8: 0.8})
    assert completed_points(trial, study, records) is not None
    scores = trial.points[1].scores if which == "points" else getattr(trial, which)
    del records[scores["facts"]]
    assert completed_points(trial, study, records) is None


def test_without_a_search_every_budget_is_needed(small):
    study, trial = off_model(small())
    assert completed_points(trial, study, records_of(trial, {0: 0.8, 4: 0.8})) is None
    assert budgets(completed_points(trial, study, records_of(trial, {0: 0.8, 4: 0.8, 8: 0.8}))) == [0, 4, 8]


def test_only_the_benchmark_of_the_search_decides(searching):
    study, trial = searching
    records = records_of(trial, {0: 0.1, 8: 0.1, 16: 0.1})
    records[trial.points[0].scores["facts"]] = records[trial.points[2].scores["facts"]] = record(1.0)
    assert budgets(completed_points(trial, study, records)) == [0, 8, 16]


def test_a_student_with_a_score_of_0_before_training_has_lost_nothing(searching):
    study, trial = searching
    assert budgets(completed_points(trial, study, records_of(trial, {0: 0.0}, original=0.0))) == [0]


def test_checkpoints_come_first_and_decide_nothing(small):
    study, trial = off_model(small(*SEARCH, "train.checkpoints=[1, 2]"))
    assert completed_points(trial, study, records_of(trial, {0: 0.8})) is None
    expected = completed_points(trial, study, records_of(trial, {0: 0.1, 8: 0.8, 4: 0.8}, at=0.8))
    assert [(point.budget, point.step) for point in expected] == [(0, 1), (0, 2), (0, None), (8, None), (4, None)]


ONE = ["conditions={off-model: }", "seeds=[1]", "pairs.teachers=[words]"]


def test_the_most_stages_to_run_are_those_of_the_longest_path(small):
    def left(*overrides: str, records_by: dict[int, float] | None = None) -> int:
        plan = build_plan(small(*ONE, "recoveries.own.budgets=[1, 2, 3, 4, 5, 6, 7]", *overrides))
        records = records_of(plan.trials[0], records_by) if records_by else {}
        return most_to_run(plan, records)

    each = 1 + 2 * 2  # a training, and two benchmarks asked and graded
    assert left() - left(SEARCH[0]) == 4 * each  # three budgets of seven
    assert left(SEARCH[0], records_by={0: 0.8}) == 0
    assert left(SEARCH[0], records_by={0: 0.1, 4: 0.8, 2: 0.8, 1: 0.8}) == 0
    assert left(SEARCH[0], records_by={0: 0.1, 4: 0.8, 2: 0.8, 3: 0.8}) > 0


def test_a_search_among_checkpoints_of_grpo_needs_the_whole_training(small):
    problems = "rl_problems={kind: math500, source: synthetic, n: 6, max_tokens: 8}"
    grpo = "recoveries.own={kind: grpo, conditions: [off-model], budgets: [1, 2, 3]}"
    plan = build_plan(small(*ONE, problems, grpo))
    searched = build_plan(small(*ONE, problems, grpo, SEARCH[0]))
    # Budgets 2 and 1: with the whole training, which leaves them on its way, but not with its own evaluations.
    assert most_to_run(plan, {}) - most_to_run(searched, {}) == 2 * 2
