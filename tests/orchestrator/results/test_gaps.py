"""The share of the gap that conditions and recoveries close, from hand-made evaluations."""

import io

import pytest
from rich.console import Console

from orchestrator.plan.build import build_plan
from orchestrator.results.gaps import off_model_condition
from orchestrator.results.report import PAGE, write_report
from orchestrator.results.tables import show_results
from orchestrator.store.store import Store
from tests.orchestrator.results.test_results import publish_evaluation

CONDITIONS = (
    "conditions={first: {kind: off_model, train: {lora_r: 2}}, off-model: , on-model: , prefill: {benchmarks: [maths]}}"
)
HALF, FIVE, ALL = "+" * 10 + "-" * 10, "+" * 15 + "-" * 5, "+" * 20


@pytest.fixture
def reported(small, publish):
    """The report of a study whose evaluations are these letters, by condition, budget and seed; all else is right."""

    def act(given: dict, *overrides: str):
        plan = build_plan(
            small("pairs.teachers=[words]", CONDITIONS, "recoveries.own.budgets=[4]", "seeds=[1, 2]", *overrides)
        )
        store, letters = Store(plan.study.store), {}
        for trial in plan.trials:
            letters |= dict.fromkeys((*trial.untrained_scores.values(), *trial.teacher_scores.values()), ALL)
            for point in trial.points:
                said = given.get((trial.condition, point.budget), ALL)
                letters |= {stage: said if name == "maths" else ALL for name, stage in point.scores.items()}
        for stage, each in letters.items():
            publish_evaluation(publish, store, stage, each)
        return write_report(plan, store), plan.study

    return act


def test_the_off_model_student_is_at_0_and_the_untrained_one_at_1(reported):
    report, study = reported({("off-model", 0): HALF, ("prefill", 0): FIVE, ("first", 0): "-" * 20})
    assert off_model_condition(study) == "off-model"
    found = {(one.point.condition, one.point.budget): one for one in report.results.gaps_closed}
    assert {place: one.closed.value for place, one in found.items()} == {
        ("first", 0): pytest.approx(-1),
        ("off-model", 4): pytest.approx(1),
        ("on-model", 0): pytest.approx(1),
        ("prefill", 0): pytest.approx(0.5),
    }
    prefill = found["prefill", 0]
    assert (prefill.benchmark, prefill.n, prefill.seeds) == ("maths", 20, [1, 2])
    assert (prefill.score, prefill.off_model, prefill.untrained) == (0.75, 0.5, 1.0)
    assert 0 < prefill.closed.low < 0.5 < prefill.closed.high < 1
    console = Console(file=io.StringIO(), width=300)
    show_results(console, study, report.results)
    head = "Gap closed on maths, student / words (0: off-model 0.500, 1: untrained 1.000): first -1.00 ["
    assert head in console.file.getvalue()
    page = report.files[PAGE].decode()
    table = page[page.index("<h2>Gap closed</h2>") :]
    assert "<td>0.750</td><td>0.50 <span" in table[: table.index("</table>")]


def test_without_a_clear_loss_there_is_no_gap(reported):
    report, _ = reported({("off-model", 0): "+" * 19 + "-"})
    assert report.results.gaps_closed == []
    assert "Gap closed" not in report.files[PAGE].decode()


def test_without_the_off_model_student_there_is_no_gap(reported):
    report, study = reported(
        {}, "conditions={on-model: , first: {kind: off_model, train: {lora_r: 2}}}", "recoveries={}"
    )
    assert off_model_condition(study) is None
    assert report.results.gaps_closed == []
