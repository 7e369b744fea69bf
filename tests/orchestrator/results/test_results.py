"""A study's results, read from hand-made evaluations."""

import io
import math

import pytest
from rich.console import Console

from evaluators.analysis.logprobs import CompletionLogprobs
from evaluators.engines.generations import Generation, to_jsonl
from evaluators.engines.requests import Completion
from evaluators.evaluate import Graded, summary
from evaluators.grading.verdict import Verdict
from orchestrator.plan.build import build_plan
from orchestrator.plan.trial import Plan
from orchestrator.results.read import read_results
from orchestrator.results.tables import score_lines, show_results
from orchestrator.stages.evaluate import GRADES
from orchestrator.stages.logprobs import LOGPROBS
from orchestrator.stages.sample import GENERATIONS
from orchestrator.store.reader import StageReader
from orchestrator.store.store import Store


def answered(letters: str) -> list[Generation]:
    prompt = [{"role": "user", "content": "p"}]
    return [
        Generation(
            id=str(i),
            prompt=prompt,
            prompt_token_ids=(1,),
            completions=(
                Completion(
                    token_ids=(1, 2, 3), text="t", truncated=letter == "c", error="flagged" if letter == "!" else None
                ),
            ),
        )
        for i, letter in enumerate(letters)
    ]


def graded(letters: str) -> list[Graded]:
    return [
        Graded(
            id=str(i),
            group={"level": 1 + i % 2},
            score=float(letter == "+"),
            verdicts=(
                Verdict(score=float(letter == "+"), parsed=letter not in "?!", note="flagged" if letter == "!" else ""),
            ),
        )
        for i, letter in enumerate(letters)
    ]


def publish_evaluation(publish, store: Store, stage, letters: str) -> None:
    """One example for each letter: right (+), wrong (-), truncated (c), unparsed (?) or failed (!)."""
    facts = {**summary(answered(letters), graded(letters)), "figures": {"loose": 0.5}}
    publish(store, stage.inputs["generations"], {GENERATIONS: to_jsonl(answered(letters)).encode()})
    publish(store, stage, {GRADES: to_jsonl(graded(letters)).encode()}, **facts)


@pytest.fixture
def read(small, publish):
    """Publishes evaluations and reads the results. `given` has letters by seed, budget and, of a checkpoint, step."""

    def act(given: dict, *overrides: str, likelihood=None):
        study = small(
            "pairs.teachers=[words]",
            "conditions={off-model: }",
            "recoveries.own.budgets=[4]",
            "seeds=[1, 2]",
            *overrides,
        )
        plan, store = build_plan(study), Store(study.store)
        letters = {}
        for trial in plan.trials:
            letters |= dict.fromkeys(trial.untrained_scores.values(), "++++")
            letters |= dict.fromkeys(trial.teacher_scores.values(), "+---")
            for point in trial.points:
                key = (trial.seed, point.budget, *([] if point.step is None else [point.step]))
                if key in given:
                    letters |= dict.fromkeys(point.scores.values(), given[key])
        for stage, each in letters.items():
            publish_evaluation(publish, store, stage, each)
        for stage in plan.stages:
            if stage.kind == "logprobs":
                rows = [CompletionLogprobs(str(i), {"all": -likelihood(stage) * 3}, {"all": 3}) for i in range(5)]
                publish(store, stage, {LOGPROBS: to_jsonl(rows).encode()})
        return read_results(plan, StageReader(store, store.records(plan.stages)))

    return act


ALL_RIGHT = {(seed, budget): "++++" for seed in (1, 2) for budget in (0, 4)}


def test_scores_and_changes_are_over_all_seeds(read):
    results = read({(1, 0): "+---", (2, 0): "++c?", (1, 4): "++++", (2, 4): "+++-"})
    assert results.unfinished == []
    assert [(one.point.budget, one.benchmark) for one in results.scores] == [
        (0, "maths"),
        (0, "facts"),
        (4, "maths"),
        (4, "facts"),
    ]
    row = results.scores[0]
    assert (row.n, row.seeds, row.untrained, row.teacher) == (4, [1, 2], 1.0, 0.25)
    assert row.value.value == pytest.approx(3 / 8)
    assert row.change.value == pytest.approx(-5 / 8)
    assert row.change.low < row.change.value < row.change.high
    beside = row.diagnostics
    assert beside == {
        "samples": 1,
        "truncated": 1 / 8,
        "unparsed": 1 / 8,
        "grading_failed": 0,
        "mean_length": 3,
        "median_length": 3,
        "p95_length": 3,
        "loose": 0.5,
    }
    assert (row.groups, row.untrained_groups) == ({"level": {"1": 0.5, "2": 0.25}}, {"level": {"1": 1.0, "2": 1.0}})
    assert results.scores[2].change.value == pytest.approx(-1 / 8)


def test_a_teacher_that_is_not_evaluated_has_no_score(read):
    results = read(ALL_RIGHT, "evaluate_teachers=false")
    assert [row.teacher for row in results.scores] == [None] * 4
    assert [row.untrained for row in results.scores] == [1.0] * 4


def test_requests_that_failed_are_shown_as_a_share(read, small):
    results = read({**ALL_RIGHT, (1, 0): "+!!+"})
    assert results.scores[0].diagnostics["failed"] == 2 / 8
    assert results.scores[0].diagnostics["grading_failed"] == 0
    assert "failed" not in results.scores[2].diagnostics
    console = Console(record=True, width=200, file=io.StringIO())
    show_results(console, small(), results)
    assert "At most 25.0% of a model's requests failed, and count as wrong." in console.export_text()


def test_a_model_with_two_names_is_listed_once(read):
    results = read(ALL_RIGHT, "models.twin=organism:steps", "pairs=[{student: student, teacher: twin}]")
    shown = [(one.model, one.benchmark) for one in results.untrained]
    assert shown == [("student, twin", "maths"), ("student, twin", "facts")]
    _, lines = score_lines(results)
    assert [names[0] for names, _ in lines if names[1] == "untrained"] == ["student, twin"]


def test_untrained_models_are_listed_once(read):
    results = read(ALL_RIGHT)
    shown = [(one.model, one.benchmark, one.value.value) for one in results.untrained]
    assert sorted(shown) == [
        ("student", "facts", 1.0),
        ("student", "maths", 1.0),
        ("words", "facts", 0.25),
        ("words", "maths", 0.25),
    ]


def test_the_finished_points_of_an_unfinished_trial_are_in_the_results_and_the_others_are_named(read):
    results = read({(1, 0): "+---", (2, 0): "----", (1, 4): "++++"})
    assert results.unfinished == ["student.words.off-model.own.s2"]
    assert [(row.point.budget, row.seeds) for row in results.scores if row.benchmark == "maths"] == [
        (0, [1, 2]),
        (4, [1]),
    ]
    assert results.scores[0].value.value == pytest.approx(1 / 8)
    (missing,) = results.missing
    assert (missing.trial, missing.what, missing.reason) == (
        "student.words.off-model.own.s2",
        "off-model, then 4 own",
        "",
    )
    (budget,) = results.recovery_budgets
    assert budget.seeds == [1]


def test_a_seed_that_has_run_some_budgets_counts_for_the_recovery_budget(read):
    given = {(seed, budget): "+---" for seed in (1, 2) for budget in (0, 4)} | {(2, 8): "++++"}
    (budget,) = read(given, "recoveries.own.budgets=[4, 8]").recovery_budgets
    assert (budget.seeds, [one.reaches for one in budget.budget.brackets]) == ([1, 2], [None, 8])


def test_a_point_without_the_untrained_student_is_not_finished_and_one_without_the_teacher_is(small, publish):
    plan = build_plan(small("pairs.teachers=[words]", "conditions={off-model: }", "recoveries={}", "seeds=[1]"))
    store, (trial,) = Store(plan.study.store), plan.trials
    for stage in (*trial.untrained_scores.values(), *trial.points[0].scores.values()):
        publish_evaluation(publish, store, stage, "++--")
    (maths, _) = (results := read_results(plan, StageReader(store, store.records(plan.stages)))).scores
    assert (maths.value.value, maths.untrained, maths.teacher) == (0.5, 0.5, None)
    assert [one.what for one in results.missing] == ["untrained words on maths", "untrained words on facts"]
    records = store.records(plan.stages)
    del records[trial.untrained_scores["facts"]]
    results = read_results(plan, StageReader(store, records))
    assert (results.scores, "off-model" in [one.what for one in results.missing]) == ([], True)


def failed_late(small, publish, reason: str) -> tuple[Plan, Store]:
    """A study of one trial, which failed for this reason at its first budget."""
    plan = build_plan(small("pairs.teachers=[words]", "conditions={off-model: }", "seeds=[1]"))
    store, (trial,) = Store(plan.study.store), plan.trials
    before, four, _ = trial.points
    for stage in (*trial.untrained_scores.values(), *trial.teacher_scores.values(), *before.scores.values()):
        publish_evaluation(publish, store, stage, "++--")
    for stage in four.student.inputs.values():
        publish(store, stage, {}, n=20, truncated=0.0)
    store.write_failure(four.student, reason)
    return plan, store


def test_a_failure_is_the_reason_for_what_its_trial_lacks(small, publish):
    plan, store = failed_late(small, publish, "ValueError: too few rows")
    four = plan.trials[0].points[1]
    results = read_results(plan, StageReader(store, store.records(plan.stages)))
    reason = f"{four.student.address}: ValueError: too few rows"
    assert [(one.what, one.reason) for one in results.missing] == [
        ("off-model, then 4 own", reason),
        ("off-model, then 8 own", reason),
    ]
    assert [row.point.budget for row in results.scores] == [0, 0]
    console = Console(record=True, width=80, file=io.StringIO())
    show_results(console, plan.study, results)
    lines = [line for line in console.export_text().splitlines() if line.startswith("missing:")]
    assert lines == [
        f"missing: student.words.off-model.own.s1 (off-model, then 4 own; off-model, then 8 own): {reason}"
    ]


@pytest.mark.parametrize(("how", "points"), [("skip", [0, 4]), ("shrink", [0, 4, 6])])
def test_short_budgets_are_named_and_lose_no_other_point(small, publish, how, points):
    how_to = f"recoveries.own.too_few_samples={how}"
    plan = build_plan(small("pairs.teachers=[words]", "conditions={off-model: }", how_to))
    store = Store(plan.study.store)
    publish(store, plan.trials[0].points[-1].student.inputs["data"], {}, n=20, truncated=0.7)
    scores = set()
    for trial in plan.trials:
        scores |= {*trial.untrained_scores.values(), *trial.teacher_scores.values()}
        run = trial.points if how == "shrink" else trial.points[:-1]
        scores |= {stage for point in run for stage in point.scores.values()}
    for stage in scores:
        publish_evaluation(publish, store, stage, "++--")
    results = read_results(plan, StageReader(store, store.records(plan.stages)))
    assert (results.unfinished, results.missing) == ([], [])
    assert [row.point.budget for row in results.scores if row.benchmark == "maths"] == points
    assert [(one.trial, one.budget, one.complete, one.shrunk) for one in results.short_budgets] == [
        (trial.key, 8, 6, how == "shrink") for trial in plan.trials
    ]
    console = Console(record=True, width=80, file=io.StringIO())
    show_results(console, plan.study, results)
    done = {"skip": "skipped", "shrink": "shrunk to 6"}[how]
    assert (
        f"recoveries.own: budget 8 is {done}, since only 6 samples are complete (neither truncated nor failed): "
        "student.words.off-model.own.s1, student.words.off-model.own.s2" in console.export_text()
    )


def test_a_checkpoint_lacks_what_its_training_failed_at(small, publish):
    plan = build_plan(small("pairs.teachers=[words]", "recoveries={}", "seeds=[1]", "train.checkpoints=[2]"))
    store, trial = Store(plan.study.store), plan.trials[0]
    training = trial.points[-1].student
    for stage in training.inputs.values():
        publish(store, stage, {})
    store.write_failure(training, "the loss is nan")
    results = read_results(plan, StageReader(store, store.records(plan.stages)))
    reasons = {one.what: one.reason for one in results.missing if one.trial == trial.key}
    assert reasons["off-model at step 2"] == reasons["off-model"] == f"{training.address}: the loss is nan"


def test_a_study_without_finished_trials_has_no_results(read):
    results = read({})
    assert results.scores == []
    assert len(results.unfinished) == 2


def test_p_values_are_corrected_for_all_scores(read):
    results = read({(1, 0): "----", (2, 0): "----", (1, 4): "++++", (2, 4): "++++"})
    changed, same = results.scores[0], results.scores[2]
    assert changed.p == pytest.approx(2 / 2**4)  # all four examples fell: McNemar's exact test
    assert changed.p < changed.q <= 1
    assert (same.p, same.q) == (1, 1)
    assert changed.detectable is None  # four examples can show nothing


def test_perplexity_and_kl_are_read_by_class_of_token(read):
    def nats(stage) -> float:
        return 0.5 if "student" in stage.inputs else 2.0  # a token, under the student or the original one

    results = read(ALL_RIGHT, "measures={perplexity: true, kl: [maths]}", likelihood=nats)
    (perplexity,) = results.measurements["perplexity"]
    assert (perplexity.point.condition, perplexity.benchmark, perplexity.n) == ("off-model", None, 5)
    assert perplexity.value.value == pytest.approx(2.0)
    first, last = results.measurements["kl"]
    assert [(one.point.budget, one.benchmark, one.seeds) for one in (first, last)] == [
        (0, "maths", [1, 2]),
        (4, "maths", [1, 2]),
    ]
    assert first.n == 5  # prompts; two students have completed each
    assert first.value == first.classes["all"]
    assert (first.value.value, first.untrained) == (pytest.approx(1.5), 0)


def test_only_the_score_is_measured_by_default(read):
    results = read(ALL_RIGHT)
    assert list(results.measurements) == ["score"]


def test_checkpoints_come_before_the_end_of_the_training(read):
    at = {(seed, 0, step): letters for seed in (1, 2) for step, letters in ((10, "+---"), (2, "++--"))}
    results = read({**ALL_RIGHT, **at}, "train.checkpoints=[10, 2]")
    maths = [row for row in results.scores if row.benchmark == "maths"]
    assert [row.point.label for row in maths] == ["step 2", "step 10", "trained", "4 own"]
    assert [row.change.value for row in maths] == pytest.approx([-1 / 2, -3 / 4, 0, 0])
    assert [row.benchmark for row in results.scores] == ["maths", "facts"] * 4
    assert results.unfinished == []
    assert all(row.p <= row.q for row in results.scores)


TWO = "recoveries.other={kind: on_model_sft, conditions: [off-model], budgets: [8, 16], train: {num_train_epochs: 2}}"


def test_points_that_recoveries_share_are_listed_once(read):
    both = {(seed, budget): "+++-" for seed in (1, 2) for budget in (8, 16)}
    results = read({**ALL_RIGHT, **both, (1, 0, 2): "----", (2, 0, 2): "----"}, TWO, "train.checkpoints=[2]")
    maths = [row for row in results.scores if row.benchmark == "maths"]
    assert [(row.point.label, row.value.value, row.seeds) for row in maths] == [
        ("step 2", 0, [1, 2]),
        ("trained", 1, [1, 2]),
        ("4 own", 1, [1, 2]),
        ("8 other", 0.75, [1, 2]),
        ("16 other", 0.75, [1, 2]),
    ]


def test_a_seed_counts_before_any_recovery_if_one_of_its_recoveries_is_done(read):
    given = {(1, 0): "+---", (2, 0): "++--", (2, 4): "++++", (1, 8): "++++", (1, 16): "++++"}
    results = read(given, TWO)
    assert results.unfinished == ["student.words.off-model.own.s1", "student.words.off-model.other.s2"]
    assert [(row.point.recovery, row.seeds) for row in results.scores if row.benchmark == "maths"] == [
        ("", [1, 2]),
        ("own", [2]),
        ("other", [1]),
        ("other", [1]),
    ]
    assert results.scores[0].value.value == pytest.approx(3 / 8)


def test_each_recovery_has_its_recovery_budget(read):
    given = {(1, 0): "+---", (2, 0): "+---", (1, 4): "++++", (2, 4): "++++"}
    other = {(1, 8): "----", (2, 8): "----", (1, 16): "----", (2, 16): "----"}
    own, twice = read({**given, **other}, TWO).recovery_budgets
    assert (own.condition, own.recovery, own.benchmark, own.recovered, own.n, own.seeds) == (
        *("off-model", "own", "maths", 0.95),
        *(4, [1, 2]),
    )
    assert [(one.below, one.reaches) for one in own.budget.brackets] == [(0, 4), (0, 4)]
    assert math.log1p(own.budget.value.value) == pytest.approx((0.95 - 0.25) / 0.75 * math.log(5))
    assert twice.budget.value.is_lower_bound
    assert str(twice.budget.value) == "> 16"


def test_a_search_sets_the_target_and_its_seeds_run_different_budgets(read):
    search = "recoveries.own.search={benchmark: facts, recovered: 0.5}"
    given = {(1, 0): "+---", (1, 4): "++--", (1, 2): "+---", (2, 0): "----", (2, 4): "----", (2, 8): "++++"}
    results = read(given, "recoveries.own.budgets=[2, 4, 8]", search)
    assert [(row.point.budget, row.seeds) for row in results.scores if row.benchmark == "facts"] == [
        (0, [1, 2]),
        (2, [1]),
        (4, [1, 2]),
        (8, [2]),
    ]
    (back,) = results.recovery_budgets
    assert (back.benchmark, back.recovered) == ("facts", 0.5)
    assert [(one.below, one.reaches) for one in back.budget.brackets] == [(2, 4), (4, 8)]


def test_a_trial_of_which_a_checkpoint_is_missing_is_unfinished(read):
    results = read({**ALL_RIGHT, (1, 0, 2): "++--"}, "train.checkpoints=[2]")
    assert results.unfinished == ["student.words.off-model.own.s2"]


def test_kl_of_checkpoints_is_read(read):
    at = {(seed, 0, 2): "++--" for seed in (1, 2)}
    measures = "measures={kl: [maths]}"
    results = read({**ALL_RIGHT, **at}, "train.checkpoints=[2]", measures, likelihood=lambda stage: 1.0)
    assert [(one.point.budget, one.point.step) for one in results.measurements["kl"]] == [(0, 2), (0, None), (4, None)]
