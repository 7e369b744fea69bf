"""A study's results, read off hand-made evaluations."""

import math

import pytest

from evaluators.analysis.logprobs import CompletionLogprobs
from evaluators.engines.generations import Generation, to_jsonl
from evaluators.engines.requests import Completion
from evaluators.evaluate import Graded, summary
from evaluators.grading.verdict import Verdict
from orchestrator.plan.build import build_plan
from orchestrator.results.read import Measured, read_results, when
from orchestrator.stages.evaluate import GRADES
from orchestrator.stages.logprobs import LIKELIHOODS
from orchestrator.stages.sample import ANSWERS
from orchestrator.store.store import Store


def answered(letters: str) -> list[Generation]:
    prompt = [{"role": "user", "content": "p"}]
    return [
        Generation(
            id=str(i),
            prompt=prompt,
            prompt_token_ids=(1,),
            prefill_token_ids=(),
            completions=(Completion(token_ids=(1, 2, 3), text="t", truncated=letter == "c"),),
        )
        for i, letter in enumerate(letters)
    ]


def graded(letters: str) -> list[Graded]:
    return [
        Graded(
            id=str(i),
            group={"level": 1 + i % 2},
            score=float(letter == "+"),
            verdicts=(Verdict(score=float(letter == "+"), parsed=letter != "?"),),
        )
        for i, letter in enumerate(letters)
    ]


def publish_evaluation(publish, store: Store, stage, letters: str) -> None:
    """One example for each letter: right (+), wrong (-), cut off (c) or without an answer (?)."""
    facts = {**summary(answered(letters), graded(letters)), "figures": {"loose": 0.5}}
    publish(store, stage.inputs["answers"], {ANSWERS: to_jsonl(answered(letters)).encode()})
    publish(store, stage, {GRADES: to_jsonl(graded(letters)).encode()}, **facts)


@pytest.fixture
def read(small, publish):
    """Publishes evaluations and reads the results; `given` says how, by seed, budget and, of a checkpoint, its step."""

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
            letters |= dict.fromkeys(trial.original.values(), "++++")
            letters |= dict.fromkeys(trial.teacher_scores.values(), "+---")
            for step in trial.steps:
                key = (trial.seed, step.budget, *([] if step.at is None else [step.at]))
                if key in given:
                    letters |= dict.fromkeys(step.scores.values(), given[key])
        for stage, each in letters.items():
            publish_evaluation(publish, store, stage, each)
        for stage in plan.stages:
            if stage.kind == "logprobs":
                rows = [CompletionLogprobs(str(i), {"all": -likelihood(stage) * 3}, {"all": 3}) for i in range(5)]
                publish(store, stage, {LIKELIHOODS: to_jsonl(rows).encode()})
        return read_results(plan, Measured(store, store.records(plan.stages)))

    return act


ALL_RIGHT = {(seed, budget): "++++" for seed in (1, 2) for budget in (0, 4)}


def test_scores_and_changes_are_over_all_seeds(read):
    results = read({(1, 0): "+---", (2, 0): "++c?", (1, 4): "++++", (2, 4): "+++-"})
    assert results.unfinished == []
    assert [(row.budget, row.benchmark) for row in results.rows] == [
        (0, "maths"),
        (0, "facts"),
        (4, "maths"),
        (4, "facts"),
    ]
    row = results.rows[0]
    assert (row.n, row.seeds, row.original, row.teacher_score) == (4, [1, 2], 1.0, 0.25)
    assert row.score.value == pytest.approx(3 / 8)
    assert row.change.value == pytest.approx(-5 / 8)
    assert row.change.low < row.change.value < row.change.high
    beside = row.diagnostics
    assert (beside.samples, beside.truncated, beside.unparsed, beside.grading_failed) == (1, 1 / 8, 1 / 8, 0)
    assert (beside.mean_length, beside.median_length, beside.p95_length) == (3, 3, 3)
    assert beside.figures == {"loose": 0.5}
    assert (row.groups, row.original_groups) == ({"level": {"1": 0.5, "2": 0.25}}, {"level": {"1": 1.0, "2": 1.0}})
    assert results.rows[2].change.value == pytest.approx(-1 / 8)


def test_models_as_they_are_are_shown_once(read):
    results = read(ALL_RIGHT)
    shown = [(reference.model, reference.benchmark, reference.score.value) for reference in results.references]
    assert sorted(shown) == [
        ("student", "facts", 1.0),
        ("student", "maths", 1.0),
        ("words", "facts", 0.25),
        ("words", "maths", 0.25),
    ]


def test_an_unfinished_trial_is_named_and_left_out(read):
    results = read({(1, 0): "+---", (2, 0): "----", (1, 4): "++++"})
    assert results.unfinished == ["student.words.off-model.own.s2"]
    assert {tuple(row.seeds) for row in results.rows} == {(1,)}
    assert results.rows[0].score.value == pytest.approx(1 / 4)


def test_nothing_done_is_no_result(read):
    results = read({})
    assert results.rows == []
    assert len(results.unfinished) == 2


def test_a_change_is_tested_and_corrected_for_all_cells(read):
    results = read({(1, 0): "----", (2, 0): "----", (1, 4): "++++", (2, 4): "++++"})
    changed, same = results.rows[0], results.rows[2]
    assert changed.p == pytest.approx(2 / 2**4)  # all four examples fell: McNemar's exact test
    assert changed.p < changed.q <= 1
    assert (same.p, same.q) == (1, 1)
    assert changed.detectable is None  # four examples can show nothing


def test_surprise_and_divergence_are_read_by_class_of_token(read):
    def nats(stage) -> float:
        return 0.5 if "student" in stage.inputs else 2.0  # a token, under the student or the original one

    results = read(ALL_RIGHT, "measures={perplexity: true, kl: [maths]}", likelihood=nats)
    (training_nll,) = results.training_perplexities
    assert (training_nll.condition, training_nll.n) == ("off-model", 5)
    assert training_nll.nll["all"].value == pytest.approx(2.0)
    assert [(one.budget, one.benchmark, one.seeds) for one in results.divergences] == [
        (0, "maths", [1, 2]),
        (4, "maths", [1, 2]),
    ]
    assert results.divergences[0].n == 5  # prompts; two students have answered each
    assert results.divergences[0].kl["all"].value == pytest.approx(1.5)


def test_nothing_beside_scores_is_measured_unasked(read):
    results = read(ALL_RIGHT)
    assert (results.training_perplexities, results.divergences) == ([], [])


def test_checkpoints_stand_before_the_end_of_the_training(read):
    at = {(seed, 0, step): letters for seed in (1, 2) for step, letters in ((10, "+---"), (2, "++--"))}
    results = read({**ALL_RIGHT, **at}, "train.checkpoints=[10, 2]")
    maths = [row for row in results.rows if row.benchmark == "maths"]
    assert [when(row.recovery, row.budget, row.at) for row in maths] == ["step 2", "step 10", "0", "4 own"]
    assert [row.change.value for row in maths] == pytest.approx([-1 / 2, -3 / 4, 0, 0])
    assert [row.benchmark for row in results.rows] == ["maths", "facts"] * 4
    assert results.unfinished == []
    assert all(row.p <= row.q for row in results.rows)


TWO = "recoveries.other={kind: on_model_sft, conditions: [off-model], budgets: [8, 16], train: {num_train_epochs: 2}}"


def test_what_recoveries_have_in_common_is_told_once(read):
    both = {(seed, budget): "+++-" for seed in (1, 2) for budget in (8, 16)}
    results = read({**ALL_RIGHT, **both, (1, 0, 2): "----", (2, 0, 2): "----"}, TWO, "train.checkpoints=[2]")
    maths = [row for row in results.rows if row.benchmark == "maths"]
    told = [(when(row.recovery, row.budget, row.at), row.score.value, row.seeds) for row in maths]
    assert told == [
        ("step 2", 0, [1, 2]),
        ("0", 1, [1, 2]),
        ("4 own", 1, [1, 2]),
        ("8 other", 0.75, [1, 2]),
        ("16 other", 0.75, [1, 2]),
    ]


def test_a_seed_counts_before_any_recovery_if_one_of_its_recoveries_is_done(read):
    given = {(1, 0): "+---", (2, 0): "++--", (2, 4): "++++", (1, 8): "++++", (1, 16): "++++"}
    results = read(given, TWO)
    assert results.unfinished == ["student.words.off-model.own.s1", "student.words.off-model.other.s2"]
    assert [(row.recovery, row.seeds) for row in results.rows if row.benchmark == "maths"] == [
        ("", [1, 2]),
        ("own", [2]),
        ("other", [1]),
        ("other", [1]),
    ]
    assert results.rows[0].score.value == pytest.approx(3 / 8)


def test_the_budget_that_brings_back_is_told_for_each_recovery(read):
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


def test_a_search_says_what_is_looked_at_and_its_seeds_go_different_ways(read):
    search = "recoveries.own.search={benchmark: facts, recovered: 0.5}"
    given = {(1, 0): "+---", (1, 4): "++--", (1, 2): "+---", (2, 0): "----", (2, 4): "----", (2, 8): "++++"}
    results = read(given, "recoveries.own.budgets=[2, 4, 8]", search)
    assert [(row.budget, row.seeds) for row in results.rows if row.benchmark == "facts"] == [
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


def test_how_far_a_checkpoint_has_gone_is_read_too(read):
    at = {(seed, 0, 2): "++--" for seed in (1, 2)}
    measures = "measures={kl: [maths]}"
    results = read({**ALL_RIGHT, **at}, "train.checkpoints=[2]", measures, likelihood=lambda stage: 1.0)
    assert [(one.budget, one.at) for one in results.divergences] == [(0, 2), (0, None), (4, None)]
