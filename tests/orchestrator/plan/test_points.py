"""Which points a trial has run, by the records of its stages."""

import pytest

from orchestrator.plan.build import build_plan
from orchestrator.plan.points import completed_points, points_to_run, progress_of
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


def with_samples(trial, records: dict, n: int, truncated: float = 0.0, **more) -> dict:
    """The records with those of the base student's samples of the training prompts."""
    data = next(point.student.inputs["data"] for point in trial.points if point.budget)
    return {**records, data: {"facts": {"n": n, "truncated": truncated, **more}}}


@pytest.mark.parametrize(
    ("how", "complete", "run", "short"),
    [
        ("skip", 16, [4, 8, 16], []),
        ("skip", 15, [4, 8], [(16, False)]),
        ("skip", 7, [4], [(8, False), (16, False)]),
        ("skip", 0, [], [(4, False), (8, False), (16, False)]),
        ("shrink", 16, [4, 8, 16], []),
        ("shrink", 15, [4, 8, 15], [(16, True)]),
        ("shrink", 7, [4, 7], [(8, True), (16, False)]),
        ("shrink", 8, [4, 8], [(16, False)]),  # It would be the same as 8.
        ("shrink", 0, [], [(4, False), (8, False), (16, False)]),
    ],
)
def test_a_budget_of_more_samples_than_are_complete_is_skipped_or_shrunk(small, how, complete, run, short):
    study, trial = off_model(small("recoveries.own.budgets=[16, 4, 8]", f"recoveries.own.too_few_samples={how}"))
    records = with_samples(trial, records_of(trial, {0: 0.8, 4: 0.8, 8: 0.8, 16: 0.8}), complete)
    progress = progress_of(trial, study, records)
    assert (progress.complete, budgets(progress.finished)) == (True, [0, *run])
    assert [(one.budget, one.shrunk) for one in progress.short] == short
    assert {one.complete for one in progress.short} <= {complete}


def test_truncated_and_failed_samples_are_not_complete(small):
    study, trial = off_model(small("recoveries.own.budgets=[4, 8]"))
    records = with_samples(trial, records_of(trial, {0: 0.8, 4: 0.8}), 20, truncated=0.6, failed=1)
    (short,) = progress_of(trial, study, records).short
    assert (short.budget, short.complete) == (8, 7)
    assert str(short) == (
        "recoveries.own: budget 8 is skipped, since only 7 samples are complete (neither truncated nor failed)"
    )


def test_short_budgets_are_known_before_the_first_budget_runs(small):
    study, trial = off_model(small("recoveries.own.budgets=[4, 8, 16]"))
    records = with_samples(trial, {}, 7)
    asked = []

    def facts(stage):
        """As in a run, in which each stage is finished when its facts are asked for."""
        asked.append(stage.kind)
        return records.get(stage, record(0.5))["facts"]

    order = [one.budget for one in points_to_run(trial, study, facts)]
    assert order == [0, 8, 16, 4]
    assert asked == ["sample"] * 3


def test_a_search_goes_by_the_budgets_that_there_are_samples_for(searching):
    study, trial = searching
    records = with_samples(trial, records_of(trial, {0: 0.1, 4: 0.2, 8: 0.3}), 9)
    assert budgets(completed_points(trial, study, records)) == [0, 4, 8]
    assert [one.budget for one in progress_of(trial, study, records).short] == [16]


def test_a_search_that_needs_no_budget_asks_for_no_samples(searching):
    study, trial = searching
    records, asked = records_of(trial, {0: 0.8}), []

    def facts(stage):
        asked.append(stage.kind)
        return records[stage]["facts"]

    assert [one.budget for one in points_to_run(trial, study, facts)] == [0]
    assert set(asked) == {"evaluate"}


def test_steps_of_rl_are_not_samples(small):
    problems = "rl_problems={kind: math500, source: synthetic, n: 6, max_tokens: 8}"
    study, trial = off_model(small(problems, "recoveries.own={kind: grpo, conditions: [off-model], budgets: [2, 400]}"))
    assert progress_of(trial, study, records_of(trial, {0: 0.8, 2: 0.8, 400: 0.8})).short == []
