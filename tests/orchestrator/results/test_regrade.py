"""Stored completions graded again."""

import json

import pytest

from evaluators.benchmarks import BENCHMARKS
from evaluators.engines import generations
from evaluators.engines.requests import Completion
from evaluators.evaluate import example_ids
from evaluators.grading.verdict import Verdict
from orchestrator.plan.build import build_plan
from orchestrator.results.regrade import regrade
from orchestrator.run.stage_runner import perform
from orchestrator.stages.data import load_examples
from orchestrator.stages.sample import GENERATIONS
from orchestrator.store.store import Store


def answers(rows: list[dict]) -> list[generations.Generation]:
    """All with 4."""
    return [
        generations.Generation(
            id=id,
            prompt=[],
            prompt_token_ids=(1,),
            completions=(Completion(token_ids=(1,), text="\\boxed{4}", truncated=False),),
        )
        for id in example_ids("math500", rows)
    ]


def graded(stage, store) -> None:
    perform(stage, store, "run", lease=None, event_log=None, trial="trial")


@pytest.fixture
def answered(small, publish):
    """A study of which the original student has answered, all with 4, and a function that grades what it said."""
    study = small("conditions={off-model: }", "recoveries={}", "seeds=[1]")
    store = Store(study.store)

    def stage_of(plan):
        return plan.trials[0].untrained_scores["maths"]

    stage = stage_of(build_plan(study))
    rows = load_examples(study.benchmarks["maths"])
    publish(store, stage.inputs["generations"], {GENERATIONS: generations.to_jsonl(answers(rows)).encode()})
    return study, store, lambda: graded(stage_of(build_plan(study)), store)


def test_the_same_grader_changes_nothing(answered):
    study, store, grade = answered
    grade()
    (one,) = regrade(build_plan(study), store)
    assert (one.n, one.changed) == (5, [])


def test_another_version_of_a_grader_is_compared_with_the_newest_grades(answered, monkeypatch):
    study, store, grade = answered
    grade()
    monkeypatch.setattr(BENCHMARKS.module("math500"), "VERSION", 2)
    monkeypatch.setattr(
        BENCHMARKS.module("math500"), "grade", lambda row, text: Verdict(score=1.0, parsed=True, answer="4")
    )
    (one,) = regrade(build_plan(study), store)
    was_right = {before.score for _, before, _ in one.changed}
    assert {now.score for _, _, now in one.changed} == {1.0}
    assert was_right == {0.0}
    assert store.record(one.stage) is None, "nothing is stored"
    grade()
    (again,) = regrade(build_plan(study), store)
    assert again.changed == []


def test_verdicts_that_differ_with_the_same_score_are_changes(answered, monkeypatch):
    study, store, grade = answered
    grade()
    before = BENCHMARKS.module("math500").grade
    noted = lambda row, text: Verdict(score=before(row, text).score, parsed=True, answer="4", note="given up")  # noqa: E731
    monkeypatch.setattr(BENCHMARKS.module("math500"), "grade", noted)
    (one,) = regrade(build_plan(study), store)
    assert len(one.changed) == 5
    assert all(a.score == b.score for _, a, b in one.changed)


def test_an_example_whose_gold_answer_can_be_read_now_is_a_change(small, publish, tmp_path, monkeypatch):
    rows = [{"problem": f"{i}?", "answer": answer} for i, answer in enumerate(("4", "\\frac{", "5"))]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    overrides = ["conditions={off-model: }", "recoveries={}", "seeds=[1]", "benchmarks.maths.n=all"]
    study = small(
        *overrides, f"benchmarks.maths.source={tmp_path / 'rows.jsonl'}", "benchmarks.maths.skip_unreadable=true"
    )
    stage, store = build_plan(study).trials[0].untrained_scores["maths"], Store(study.store)
    rows = load_examples(study.benchmarks["maths"])
    publish(store, stage.inputs["generations"], {GENERATIONS: generations.to_jsonl(answers(rows)).encode()})
    graded(stage, store)
    (same,) = regrade(build_plan(study), store)
    assert (same.n, same.changed) == (2, [])
    monkeypatch.setattr(BENCHMARKS.module("math500"), "check", lambda row: None)
    (one,) = regrade(build_plan(study), store)
    ((id, before, now),) = one.changed
    assert (one.n, before, now.id, id in example_ids("math500", rows)) == (3, None, id, True)


def test_completions_without_stored_grades_are_reported(answered):
    study, store, _ = answered
    (one,) = regrade(build_plan(study), store)
    assert one.changed is None
