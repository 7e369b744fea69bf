"""The report's page, from hand-made evaluations: whole, and of a study of which parts are missing."""

import io
import json
import re
from dataclasses import replace

import pytest
from rich.console import Console

from evaluators.analysis.statistics import Interval
from evaluators.analysis.style import StyleShares
from evaluators.engines.generations import to_jsonl
from orchestrator.plan.build import build_plan
from orchestrator.results.figures import as_svg, pair_figure
from orchestrator.results.read import Diagnostics, Results, Row, Style
from orchestrator.results.report import FIGURE, PAGE, RESULTS, SCORES, write_report
from orchestrator.results.tables import show_results
from orchestrator.stages.style import SHARES
from orchestrator.store.store import Store
from tests.orchestrator.results.test_results import publish_evaluation


@pytest.fixture
def reported(small, publish, tmp_path):
    """The page, and what the terminal shows, of a study with these overrides of which only `seeds` are done.

    Checkpoints have nothing right, and all else every other answer.
    """

    def act(seeds: list[int], *overrides: str) -> tuple[str, str]:
        own = f"store={tmp_path / str(seeds)}"
        plan = build_plan(small("pairs.teachers=[words]", "recoveries={}", "seeds=[1, 2]", own, *overrides))
        store = Store(plan.study.store)
        done = {}
        for trial in plan.trials:
            done |= dict.fromkeys((*trial.original.values(), *trial.teacher_scores.values()), "+-+-")
            for step in trial.steps if trial.seed in seeds else ():
                done |= dict.fromkeys(step.scores.values(), "+-+-" if step.at is None else "----")
                read = [StyleShares(str(i), 0.0, 1.0, float(i < 3)) for i in range(4)]
                for stage in step.style.values():
                    publish(store, stage, {SHARES: to_jsonl(read).encode()})
        for stage, letters in done.items():
            publish_evaluation(publish, store, stage, letters)
        report = write_report(plan, store)
        console = Console(file=io.StringIO(), width=300)
        show_results(console, plan.study, json.loads(report.files[RESULTS]))
        return report.files[PAGE].decode(), console.file.getvalue()

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


CHECKPOINTS = ["train={learning_rate: 1, max_steps: 30, checkpoints: [20, 10]}", "conditions={off-model: }"]


def test_checkpoints_are_in_the_tables_and_not_among_the_findings(reported):
    page, shown = reported([1, 2], *CHECKPOINTS)
    points = re.findall(r"off-model +(step \d+|0) +(0\.\d+)", shown)
    assert points == [("step 10", "0.000"), ("step 20", "0.000"), ("0", "0.500")]
    assert 0 < page.index("<td>step 10</td>") < page.index("<td>step 20</td>")
    assert "off-model, while it is trained" in page
    assert "and the way back" not in page
    assert "no benchmark changes clearly (most: maths, +0.000" in page


def test_a_training_and_the_way_back_are_drawn_beside_the_levels(reported):
    recovery = "recoveries.own={kind: on_model_sft, conditions: [off-model], budgets: [4, 8]}"
    page, shown = reported([1], *CHECKPOINTS, recovery, "seeds=[1]")
    titles = ["maths, by level", "off-model, while it is trained", "off-model, and the way back"]
    assert [title for title in titles if title in page] == titles
    assert [point for point, _ in re.findall(r"off-model +(step \d+|0|\d+ own) +(0\.\d+)", shown)] == [
        *("step 10", "step 20", "0", "4 own", "8 own")
    ]
    assert "95 % of maths is back, student / words: off-model at 0 [0, 0] own" in shown
    assert "What it takes to bring students back" in page
    assert "samples of the base student" in page  # what a budget counts


def row(budget: int, at: int | None, value: float, recovery: str = "", benchmark: str = "maths") -> Row:
    interval, beside = Interval(value, value - 0.1, value + 0.1), Diagnostics(1, 0, 0, 0, 1, 1, 1, {})
    place = ("student", "words", "off-model", recovery, budget, at, benchmark)
    return Row(*place, 4, [1], interval, interval, 1, 1, None, 0.9, 0.5, beside, {}, {})


def drawn(rows: list[Row]):
    spent = {"own": "samples", "grpo": "steps"}
    return pair_figure(Results(rows, [], [], [], [], []), "student", "words", "maths", spent)


def test_the_curve_of_a_training_ends_at_its_end():
    figure = drawn([row(0, 5, 0.2), row(0, 10, 0.3), row(0, None, 0.4), row(4, None, 0.8, "own")])
    training, recovery = figure.axes
    assert [label.get_text() for label in training.get_xticklabels()] == ["5", "10", "end"]
    assert [list(line.get_ydata()) for line in training.lines] == [[0.2, 0.3, 0.4], [0.9, 0.9]]
    assert list(training.lines[0].get_xdata()) == [0, 1, 2]
    assert [label.get_text() for label in recovery.get_xticklabels()] == ["0", "4"]
    assert list(recovery.lines[0].get_ydata()) == [0.4, 0.8]
    assert recovery.get_xlabel().startswith("samples afterwards")
    assert as_svg(figure).startswith("<svg")


FINDINGS = """hypotheses=[
  {experiment: 1, claim: training costs maths, compare: {condition: off-model, benchmark: maths}, expected: lower},
  {experiment: 9, claim: the middle of the training is worse,
   compare: {condition: off-model, benchmark: maths, step: 20}, versus: off-model, expected: lower},
]"""


def test_findings_are_printed_and_shown_with_what_they_expect(reported):
    page, shown = reported([1, 2], *CHECKPOINTS, FINDINGS)
    assert "Of 2 that the study file expects: 2 not found." in page
    for told in (page, shown):
        for words in ("training costs maths", "off-model at step 20 on maths", "-0.500", "4 x 2", "not found"):
            assert words in told
    page, shown = reported([2], *CHECKPOINTS, FINDINGS)
    assert "student.words.off-model.s1 has not finished" in page
    assert "hypotheses: 2 not measured, of 2" in shown


def test_style_is_shown_at_every_point_and_drawn(reported):
    page, shown = reported([1, 2], *CHECKPOINTS, "measures={style: [maths]}")
    assert "off-model step 10 0.75, off-model step 20 0.75, off-model 0 0.75" in shown
    assert "told apart 1.00" in shown
    assert "maths: style and score" in page
    assert page.count("4 x 2</td></tr>") == 3


def test_recoveries_are_drawn_a_line_each_from_where_they_all_begin():
    rows = [row(0, None, 0.4), row(4, None, 0.8, "own"), row(2, None, 0.6, "grpo"), row(8, None, 0.7, "grpo")]
    (panel,) = drawn([*rows, row(0, None, 0.1, benchmark="facts"), row(4, None, 0.2, "own", "facts")]).axes
    lines = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in panel.lines}
    assert lines["own"] == ([0, 2], [0.4, 0.8])
    assert lines["grpo"] == ([0, 1, 3], [0.4, 0.6, 0.7])
    assert [label.get_text() for label in panel.get_xticklabels()] == ["0", "2", "4", "8"]
    assert "maths" in panel.get_title(loc="left")


def test_of_many_conditions_the_first_have_a_line_by_level_and_the_title_says_so():
    levels = {"level": {"1": 1.0, "2": 0.5}}
    rows = [replace(row(0, None, 0.4), condition=f"c{i}", groups=levels, original_groups=levels) for i in range(10)]
    (panel,) = drawn(rows).axes
    assert len(panel.lines) == 1 + 8  # the original student's
    assert panel.get_title(loc="left") == "maths, by level: the first 8 of 10"


def test_style_is_drawn_along_the_first_recovery_and_not_for_a_single_point():
    rows = [row(0, None, 0.4), row(4, None, 0.8, "own"), row(2, None, 0.6, "grpo")]
    share = Interval(0.5, 0.4, 0.6)
    styles = [
        Style("student", "words", "off-model", r.recovery, r.budget, r.at, "maths", 4, [1], share, 0.0, 1.0, 1.0, True)
        for r in rows
    ]
    spent = {"own": "samples", "grpo": "steps"}

    def panels(of: list[Style]):
        return pair_figure(Results(rows, [], [], [], [], [], of), "student", "words", "maths", spent).axes

    _, style = panels(styles)
    assert [label.get_text() for label in style.get_xticklabels()] == ["0", "4 own"]
    assert len(panels(styles[:1])) == 1


def test_a_page_of_two_recoveries_tells_what_they_share_once(reported):
    grpo = "recoveries.grpo={kind: grpo, conditions: [off-model], budgets: [2]}"
    own = "recoveries.own={kind: on_model_sft, conditions: [off-model], budgets: [4]}"
    problems = "rl_problems={kind: math500, source: synthetic, n: 6, max_tokens: 8}"
    page, shown = reported([1], "conditions={off-model: }", own, grpo, problems, "seeds=[1]")
    assert [point for point, _ in re.findall(r"off-model +(0|\d+ \w+) +(0\.\d+)", shown)] == ["0", "4 own", "2 grpo"]
    assert "after 4 own 0.500; after 2 grpo 0.500" in page
    assert page.count("off-model, then 4 own</div>") == page.count('">off-model</div>') > 0


def test_where_values_come_from_is_beside_what_was_declared(reported):
    page, _ = reported([1, 2], "provenance={train: 'our <choice>'}")
    assert (
        '<td class="name">train.lora_alpha</td><td class="name long">16</td><td class="name long">our &lt;choice&gt;'
        in page
    )
    assert '<td class="name">seeds</td><td class="name long">[1, 2]</td><td class="name long">not stated</td>' in page
    assert "Where its values come from" not in reported([1], "conditions={off-model: }")[0]


def test_the_report_lies_in_the_store_and_replaces_an_earlier_one(reported, tmp_path):
    folder = tmp_path / "[1, 2]" / "reports" / "small"
    folder.mkdir(parents=True)
    (folder / PAGE).write_text("an earlier report")
    page, _ = reported([1, 2], "conditions={off-model: , on-model: }")
    assert {path.name for path in folder.iterdir()} == {PAGE, RESULTS, SCORES, FIGURE}
    assert (folder / PAGE).read_text() == page
    assert len((folder / SCORES).read_text().splitlines()) == 1 + 2 * 2  # two conditions on two benchmarks
