"""Overlap of training data with the student's own samples: where it is measured, and of which answers."""

import pytest

from orchestrator.plan.build import build_plan
from orchestrator.results.read import read_results
from orchestrator.run.stage_runner import KINDS
from orchestrator.stages.sample import GENERATIONS
from orchestrator.store.context import StageContext
from orchestrator.store.reader import StageReader
from orchestrator.store.store import Store
from tests.orchestrator.results.test_results import publish_evaluation
from tests.orchestrator.stages.test_transform import answered

ONE = ("pairs.teachers=[words]", "seeds=[1]", "recoveries={}", "measures={overlap: true}")
CONDITIONS = """conditions={
  off-model: ,
  on-model: ,
  half: {kind: mixed, share: 0.5},
  other message: {kind: on_model, prompts: {system: talk}},
  rephrased: {kind: on_model, rephrase: 'say {answer}'},
  inoculated: {kind: inoculation, when: training, system: talk},
  other prompts: {kind: off_model, prompts: {n: 5}},
  streams: {kind: non_text, text: code},
  best: {kind: best_of, n: 2, benchmarks: [maths]},
}"""


def test_it_is_measured_of_completions_of_the_studys_prompts(small):
    plan = build_plan(small(*ONE, CONDITIONS))
    measured = {trial.condition: trial.training_data.get("overlap") for trial in plan.trials}
    assert [name for name, stages in measured.items() if not stages] == ["other prompts", "streams"]
    (own,) = {stages[0].inputs["other"] for stages in measured.values() if stages}
    assert own == measured["on-model"][0].inputs["data"]


def overlap_of(small, publish, data: bytes, own: bytes) -> tuple:
    """The stage's facts, and the store and plan of a study with off-model SFT alone."""
    plan = build_plan(small(*ONE, "conditions={off-model: }"))
    store, (trial,) = Store(plan.study.store), plan.trials
    (stage,) = trial.training_data["overlap"]
    for role, content in {"data": data, "other": own}.items():
        publish(store, stage.inputs[role], {GENERATIONS: content})
    context = StageContext(stage, store, store.new_folder(stage, "one"), None)
    facts = KINDS["overlap"].run(context)
    context.publish(stage, context.out, "one", 0.0, facts)
    return facts, store, plan


def test_each_row_is_compared_with_the_answer_to_its_prompt(small, publish):
    theirs = {0: "own says 0", 1: "it says 1", 2: "no idea"}
    facts, *_ = overlap_of(small, publish, answered("it", cut=(3,), texts=theirs), answered("own", cut=(4,)))
    assert facts == {"n": 3, "identical": pytest.approx(1 / 3), "f1": pytest.approx((1 + 1 / 2 + 0) / 3)}


def test_a_row_under_another_system_message_is_compared_by_its_message(small, publish):
    renamed = answered("own").replace(b'"id": "id', b'"id": "other')
    facts, *_ = overlap_of(small, publish, renamed, answered("own"))
    assert facts == {"n": 5, "identical": 1.0, "f1": 1.0}


def test_data_without_a_prompt_in_common_is_refused(small, publish):
    with pytest.raises(ValueError, match=r"no prompt of the training data sample/words.* has a whole answer"):
        overlap_of(small, publish, answered("it"), answered("own", cut=(0, 1, 2, 3, 4)))


def test_the_report_has_the_overlap_and_the_share_that_is_identical(small, publish):
    _, store, plan = overlap_of(small, publish, answered("it", texts={0: "own says 0"}), answered("own"))
    for stage in plan.stages:
        if stage.kind == "evaluate":
            publish_evaluation(publish, store, stage, "+-")
    (found,) = read_results(plan, StageReader(store, store.records(plan.stages))).measurements["overlap"]
    assert (found.n, found.diagnostics) == (5, {"identical": 0.2})
    assert found.value.value == pytest.approx((1 + 4 / 2) / 5)
