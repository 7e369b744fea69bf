"""The size of updates: which students have one, and what the report says of them."""

import io
import json

import pytest
from rich.console import Console

from orchestrator.plan.build import build_plan
from orchestrator.results.report import PAGE, RESULTS, write_report
from orchestrator.results.tables import show_results
from orchestrator.run.mlflow_data import _measures
from orchestrator.store.store import Store
from orchestrator.study.settings import StudyError
from tests.orchestrator.results.test_results import publish_evaluation

STUDY = (
    "pairs.teachers=[words]",
    "measures={update: true}",
    "recoveries.own.budgets=[4]",
    "train={learning_rate: 1.0e-3, max_steps: 4, checkpoints: [2], lr_scheduler_type: constant, warmup_ratio: 0.0}",
    "conditions={off-model: , noise: {kind: weight_noise}, best: {kind: best_of, n: 2, benchmarks: [maths]},"
    " base: {kind: best_of, n: 2, student: untrained, benchmarks: [maths]}}",
)


def test_every_trained_or_changed_student_has_an_update(small):
    plan = build_plan(small(*STUDY))
    of_seed = [trial for trial in plan.trials if trial.seed == 1]
    measured = {
        (trial.condition, point.budget, point.step): point.of_student.get("update")
        for trial in of_seed
        for point in trial.points
    }
    assert [place for place, stages in measured.items() if not stages] == [("base", 0, None)]
    assert measured["off-model", 0, None] == measured["best", 0, None] != measured["off-model", 4, None]
    (noise,) = measured["noise", 0, None]
    assert noise.inputs["student"].kind == "weights"
    assert noise.inputs["base"] == measured["off-model", 4, None][0].inputs["base"]
    assert not build_plan(small()).trials[0].points[0].of_student


def test_norms_and_doses_are_in_the_report(small, publish):
    plan = build_plan(small(*STUDY))
    store = Store(plan.study.store)
    for stage in plan.stages:
        if stage.kind == "evaluate":
            publish_evaluation(publish, store, stage, "+-")
        elif stage.kind == "train":
            is_checkpoint = stage.runtime.published_by is not None
            publish(store, stage, {}, **({"steps": 2} if is_checkpoint else {"steps": 4, "tokens": 60}))
        elif stage.kind == "update":
            publish(store, stage, {}, norm=0.01 if "-s1" in stage.inputs["student"].name else 0.02)
    report = write_report(plan, store)
    found = {
        (one["point"]["condition"], one["point"]["budget"], one["point"]["step"]): one
        for one in json.loads(report.files[RESULTS])["measurements"]["update"]
    }
    whole = found["off-model", 0, None]
    assert (whole["n"], whole["seeds"], whole["benchmark"]) == (2, [1, 2], None)
    assert whole["value"]["value"] == pytest.approx(0.015)
    assert whole["value"]["low"] < 0 < 0.02 < whole["value"]["high"], "two seeds say little of others"
    assert whole["diagnostics"] == {"steps": 4, "tokens": 60, "summed_rate": pytest.approx(4e-3)}
    assert found["off-model", 0, 2]["diagnostics"] == found["noise", 0, None]["diagnostics"] == {}
    console = Console(file=io.StringIO(), width=300)
    show_results(console, plan.study, report.results)
    assert "Size of the update, student / words: off-model at step 2 0.0150, off-model 0.0150, off" in (
        console.file.getvalue()
    )
    page = report.files[PAGE].decode()
    assert "<td>0.0150" in page
    assert "<td>0.004</td>" in page
    trial, records = plan.trials[0], store.records(plan.stages)
    assert ("update norm", 0.01, 0) in list(_measures(trial, trial.points[1], records))


def test_it_is_not_compared_by_hypotheses(small):
    one = "{source: ours, claim: c, metric: update, expected: lower, compare: off-model}"
    with pytest.raises(StudyError, match="update is reported of students, and not compared"):
        build_plan(small(*STUDY, f"hypotheses=[{one}]"))
