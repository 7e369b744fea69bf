"""The report's page, from hand-made evaluations: whole, and of a study of which parts are missing."""

import io
import json
import re

import pytest
from rich.console import Console

from orchestrator.account import show_results
from orchestrator.plan import unfold
from orchestrator.run import make_report
from orchestrator.stages.report import PAGE, RESULTS
from orchestrator.store import Store
from tests.test_results import publish_evaluation


@pytest.fixture
def reported(small, publish):
    """The page, and what the terminal shows, of a study with these overrides of which only `seeds` are done."""

    def act(seeds: list[int], *overrides: str) -> tuple[str, str]:
        plan = unfold(small("pairs.teachers=[words]", "recovery=null", "seeds=[1, 2]", *overrides))
        store = Store(plan.study.store)
        done = set()
        for trial in plan.trials:
            done |= {*trial.original.values(), *trial.teacher_scores.values()}
            if trial.seed in seeds:
                done |= {*trial.steps[0].scores.values()}
        for stage in done:
            publish_evaluation(publish, store, stage, "+-+-")
        address = make_report(plan, store)
        folder = store.folder(address, store.read_record(address))
        console = Console(file=io.StringIO(), width=300)
        show_results(console, plan.study, json.loads((folder / RESULTS).read_text()))
        return (folder / PAGE).read_text(), console.file.getvalue()

    return act


def test_the_page_holds_every_condition_and_nothing_from_elsewhere(reported):
    page, shown = reported([1, 2], "conditions={off-model: , on-model: }")
    for condition in ("off-model", "on-model"):
        assert f'<td class="name">{condition}</td>' in page
        assert condition in shown
    assert "<svg" in page
    assert not re.search(r"(src|href)\s*=\s*[\"']?\s*(https?:)?//", page)


def test_a_study_whose_first_seed_is_missing_says_so(reported):
    page, shown = reported([2], "conditions={off-model: }")
    assert "did not finish: student.words.off-model.s1" in page
    assert "off-model" in shown


def test_a_benchmark_that_no_condition_asks(reported):
    page, shown = reported([1, 2], "conditions={prefill: {benchmarks: [facts]}}")
    assert "not asked" in page
    assert "not asked" in shown


def test_a_study_of_which_nothing_is_done(reported):
    page, _ = reported([], "conditions={off-model: }")
    assert "student.words.off-model.s2" in page
