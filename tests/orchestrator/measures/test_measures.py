"""The measures that a study takes: what is refused, and that a new file is all that a new measure needs."""

import io
import json

import pytest
from rich.console import Console

from orchestrator import measures
from orchestrator.measures import MEASURES
from orchestrator.plan.build import build_plan
from orchestrator.results.report import PAGE, RESULTS, write_report
from orchestrator.results.tables import show_results
from orchestrator.store.store import Store
from orchestrator.study.settings import StudyError
from tests.orchestrator.results.test_results import publish_evaluation

CONTRACT = (
    *("TITLE", "UNIT", "LEGEND", "SUBJECT", "UNTRAINED_MODELS", "GROUPED", "COLUMNS"),
    *("check", "stages", "values", "diagnostics", "metrics", "text"),
)


@pytest.mark.parametrize("name", MEASURES)
def test_a_measure_declares_everything(name):
    module = MEASURES.module(name)
    assert [what for what in CONTRACT if not hasattr(module, what)] == []
    assert "Source: " in module.__doc__


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("measures.zzz=true", "known are kl, overlap, perplexity, style, update$"),
        ("measures.stile=[maths]", r'measures: "stile" is not among .*did you mean "style"'),
        ("measures.kl=[mats]", r'measures\.kl: "mats" is not among benchmarks; did you mean "maths"'),
        ("measures.kl=[task]", r"measures\.kl: task is a task of lm-eval.*: list other benchmarks, as kl: \[maths\]"),
        ("measures.style=[task]", r"measures\.style: task is a task of lm-eval"),
        ("measures.style=true", r"measures\.style: completions of facts are one token"),
        (
            "measures.perplexity=[maths]",
            r"perplexity is of training data and not of a benchmark: write perplexity: true",
        ),
        ("measures.update=[maths]", r"update is of students and not of a benchmark: write update: true"),
        ("measures.score=[maths]", r"measures\.score: the score is always measured"),
    ],
)
def test_what_a_study_cannot_measure_is_refused(small, override, said):
    with pytest.raises(StudyError, match=said):
        build_plan(small(override, "benchmarks.task={kind: 'lm_eval:gsm8k'}"))


def test_true_means_all_benchmarks_and_false_none(small):
    def taken(override: str) -> dict[str, set[str]]:
        points = build_plan(small(override)).trials[0].points
        return {name: set(by_benchmark) for name, by_benchmark in points[0].measured.items()}

    assert taken("measures.kl=true") == {"score": {"maths", "facts"}, "kl": {"maths", "facts"}}
    assert taken("measures.kl=[facts]") == {"score": {"maths", "facts"}, "kl": {"facts"}}
    assert taken("measures.kl=false") == {"score": {"maths", "facts"}}


NO_ANSWER = """
from evaluators.analysis.values import Shares, text_of
from orchestrator.measures import POINTS, Column
from orchestrator.stages.evaluate import grades_of

TITLE, UNIT, LEGEND = "unparsed completions", "share", "Share of completions without a gradable answer."
SUBJECT, UNTRAINED_MODELS, GROUPED = POINTS, ("untrained",), False
COLUMNS = (Column(title="without an answer", cell=lambda one: one.value),)


def check(study, benchmark):
    pass


def stages(evaluation):
    before = evaluation.builder.evaluate_untrained(evaluation.builder.student, evaluation.name)
    return (evaluation.stage, before)


def values(reader, stages, of):
    graded = reader.read(stages[of == "untrained"], grades_of)
    return Shares(ids=[e.id for e in graded], values=[float(not e.verdicts[0].parsed) for e in graded])


def diagnostics(reader, stages_S):
    return {}


def metrics(facts, untrained):
    return {"without an answer": facts[0]["unparsed"]}


def text(interval):
    return text_of(interval)
"""
CLAIM = (
    "{experiment: 1, source: ours, claim: c, metric: no_answer, expected: higher, "
    "compare: {condition: off-model, benchmark: maths}}"
)


def test_a_new_file_is_measured_tested_and_shown(small, publish, tmp_path, monkeypatch):
    (tmp_path / "no_answer.py").write_text(NO_ANSWER)
    monkeypatch.setattr(measures, "__path__", [*measures.__path__, str(tmp_path)])
    study = small(
        "conditions={off-model: }", "recoveries={}", "measures.no_answer=[maths]", f"hypotheses=[{CLAIM}]", "seeds=[1]"
    )
    plan, store = build_plan(study), Store(study.store)
    letters = {stage: "+" * 20 for stage in plan.stages if stage.kind == "evaluate"}
    for trial in plan.trials:
        letters |= dict.fromkeys(trial.points[0].scores.values(), "?" * 15 + "-" * 5)
    for stage, each in letters.items():
        publish_evaluation(publish, store, stage, each)
    report = write_report(plan, store)
    found = json.loads(report.files[RESULTS])["measurements"]["no_answer"]
    assert [(one["value"]["value"], one["change"]["value"]) for one in found] == [(0.75, 0.75)] * 2  # for each teacher
    assert [one.outcome for one in report.results.hypotheses] == ["supported", "supported"]
    assert "without an answer" in report.files[PAGE].decode()
    console = Console(file=io.StringIO(), width=300)
    show_results(console, study, report.results)
    assert "Unparsed completions on maths, student / words: off-model 0.750 [" in console.file.getvalue()
