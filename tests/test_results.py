"""A study's results, read off hand-made evaluations."""

import json
from dataclasses import asdict

import pytest

from evaluators.evaluate import Example
from orchestrator.plan import unfold
from orchestrator.results import Examples, read_results
from orchestrator.stages.evaluate import EXAMPLES
from orchestrator.store import Store


def examples(correct: str) -> bytes:
    """One example for each letter: right (+), wrong (-), cut off (c) or without an answer (?)."""
    made = [
        Example(
            id=str(i),
            group={"level": 1 + i % 2},
            prompt="p",
            prompt_ids=(1,),
            opening_ids=(),
            ids=(1, 2, 3),
            text="t",
            correct=letter == "+",
            found=letter != "?",
            cut_off=letter == "c",
        )
        for i, letter in enumerate(correct)
    ]
    return "".join(json.dumps(asdict(example)) + "\n" for example in made).encode()


@pytest.fixture
def read(small, publish):
    """Publishes evaluations and reads the results; `graded` says how, by trial and budget."""
    study = small("pairs.teachers=[words]", "conditions={off-model: }", "recovery.budgets=[4]", "seeds=[1, 2]")
    plan, store = unfold(study), Store(study.store)

    def act(graded: dict):
        answers = {}
        for trial in plan.trials:
            answers |= dict.fromkeys(trial.original.values(), "++++")
            answers |= dict.fromkeys(trial.teacher_scores.values(), "+---")
            for step in trial.steps:
                if (trial.seed, step.budget) in graded:
                    answers |= dict.fromkeys(step.scores.values(), graded[trial.seed, step.budget])
        for stage, correct in answers.items():
            publish(store, stage, {EXAMPLES: examples(correct)}, accuracy=correct.count("+") / 4)
        records = store.records(plan.stages)
        return read_results(plan, records, Examples(store, records))

    return act


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
    assert row.change.low <= row.change.value <= row.change.high < 0
    assert (row.cut_off, row.not_found, row.mean_length) == (1 / 8, 1 / 8, 3)
    assert row.by_level == {"student": {"1": 0.5, "2": 0.25}, "original": {"1": 1.0, "2": 1.0}}
    assert results.rows[2].change.value == pytest.approx(-1 / 8)


def test_models_as_they_are_are_shown_once(read):
    results = read({(1, 0): "++++", (2, 0): "++++", (1, 4): "++++", (2, 4): "++++"})
    shown = [(reference.model, reference.benchmark, reference.score.value) for reference in results.references]
    assert sorted(shown) == [
        ("student", "facts", 1.0),
        ("student", "maths", 1.0),
        ("words", "facts", 0.25),
        ("words", "maths", 0.25),
    ]


def test_an_unfinished_trial_is_named_and_left_out(read):
    results = read({(1, 0): "+---", (2, 0): "----", (1, 4): "++++"})
    assert results.unfinished == ["student.words.off-model.s2"]
    assert {tuple(row.seeds) for row in results.rows} == {(1,)}
    assert results.rows[0].score.value == pytest.approx(1 / 4)


def test_nothing_done_is_no_result(read):
    results = read({})
    assert results.rows == []
    assert len(results.unfinished) == 2


def test_students_are_paired_with_the_original_by_example(read):
    same = read({(1, 0): "++--", (2, 0): "++--", (1, 4): "++--", (2, 4): "++--"}).rows[0]
    # All seeds agree and the original is right everywhere, so the change is the score less one, interval and all.
    assert (same.change.low, same.change.high) == pytest.approx((same.score.low - 1, same.score.high - 1))
