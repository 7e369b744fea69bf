"""The report of hand-made evaluations: its page, its table in the terminal, and its files."""

import html
import io
import re
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
from rich.console import Console

from evaluators.analysis.style import StyleShares
from evaluators.engines.generations import to_jsonl
from evaluators.evaluate import summary
from orchestrator.plan.build import build_plan
from orchestrator.results.report import FIGURE, PAGE, RESULTS, SCORES, write_report
from orchestrator.results.tables import show_results
from orchestrator.stages.evaluate import GRADES, SKIPPED
from orchestrator.stages.sample import GENERATIONS
from orchestrator.stages.style import SHARES
from orchestrator.store.store import Store
from tests.orchestrator.results.test_results import answered, graded, publish_evaluation

CHECKPOINTS = ["train={learning_rate: 1, max_steps: 30, checkpoints: [20, 10]}", "conditions={off-model: }"]


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
            done |= dict.fromkeys((*trial.untrained_scores.values(), *trial.teacher_scores.values()), "+-+-")
            for point in trial.points if trial.seed in seeds else ():
                done |= dict.fromkeys(point.scores.values(), "+-+-" if point.step is None else "----")
                read = [StyleShares(str(i), 0.0, 1.0, float(i < 3)) for i in range(4)]
                for (stage,) in point.measured.get("style", {}).values():
                    publish(store, stage, {SHARES: to_jsonl(read).encode()})
        for stage, letters in done.items():
            publish_evaluation(publish, store, stage, letters)
        report = write_report(plan, store)
        console = Console(file=io.StringIO(), width=300)
        show_results(console, plan.study, report.results)
        return report.files[PAGE].decode(), console.file.getvalue()

    return act


def test_the_page_holds_every_condition_and_nothing_from_elsewhere(reported):
    page, shown = reported([1, 2], "conditions={off-model: , on-model: }")
    for condition in ("off-model", "on-model"):
        assert f'<td class="name">{condition}</td>' in page
        assert condition in shown
    assert "<svg" in page
    assert not re.search(r"(src|href)\s*=\s*[\"']?\s*(https?:)?//", page)


def test_names_are_shown_as_they_are(reported):
    names = [r"$\\foo$ [bold]", "[red]x", "<b>&amp; [link=x]", r"\\[", "x" * 200]
    listed = ", ".join(f'"{name}": {{kind: off_model}}' for name in names)
    page, shown = reported([1, 2], f"conditions={{{listed}}}")
    for name in (name.replace("\\\\", "\\") for name in names):
        assert f'<td class="name">{html.escape(name)}</td>' in page
        assert name in shown


def test_a_study_whose_first_seed_is_missing_says_so(reported):
    page, shown = reported([2], "conditions={off-model: }")
    assert "1 of 2 trials are not finished." in page
    for told in (page, shown):
        assert "student.words.off-model.s1: not run yet" in told
    assert "off-model" in shown


def test_examples_that_are_not_graded_are_named_and_completions_are_shown_with_their_own_grades(small, publish):
    plan = build_plan(small("conditions={off-model: }", "recoveries={}", "seeds=[1]", "pairs.teachers=[words]"))
    store = Store(plan.study.store)
    for stage in set(plan.trials[0].stages()):
        own = answered("+-+-")
        texts = [replace(one, prompt=[{"role": "user", "content": f"problem {one.id}"}]) for one in own]
        left = graded("+-+-")[1:]  # The first example is skipped.
        facts = {**summary(own[1:], left), "figures": {}, "skipped": 1}
        publish(store, stage.inputs["generations"], {GENERATIONS: to_jsonl(texts).encode()})
        files = {GRADES: to_jsonl(left).encode(), SKIPPED: b'["row 0: its <gold> answer"]'}
        publish(store, stage, files, **facts)
    report, console = write_report(plan, store), Console(file=io.StringIO(), width=200)
    show_results(console, plan.study, report.results)
    assert "maths: 1 of 4 examples are skipped: row 0: its <gold> answer" in console.file.getvalue()
    page = report.files[PAGE].decode()
    assert "maths: 1 of 4 examples are not graded" in page
    assert "row 0: its &lt;gold&gt; answer" in page
    assert [(one.benchmark, one.n) for one in report.results.skipped] == [("maths", 4), ("facts", 4)]
    transcripts = page[page.index("<h2>Completions</h2>") :]
    assert re.findall(r"problem (\d)</b></p>.*?answer (right|wrong)", transcripts) == [
        ("1", "wrong"),
        ("2", "right"),
        ("3", "wrong"),
    ]


def test_a_score_of_0_has_no_recovery_budget(small, publish):
    plan = build_plan(small("conditions={off-model: }", "seeds=[1]", "pairs.teachers=[words]"))
    store = Store(plan.study.store)
    for stage in set(plan.trials[0].stages()):
        publish_evaluation(publish, store, stage, "----")
    report, console = write_report(plan, store), Console(file=io.StringIO(), width=200)
    show_results(console, plan.study, report.results)
    told = "95 % of the untrained maths score, student / words: off-model, then own, has none, since that score is 0"
    assert told in console.file.getvalue()
    assert "none: the untrained score is 0" in report.files[PAGE].decode()


def test_a_report_of_checkpoints_alone_and_of_budgets_alone(small, publish):
    recovery = "recoveries.own={kind: on_model_sft, conditions: [off-model], budgets: [4]}"
    for done in ("step", "budget"):
        plan = build_plan(small(*CHECKPOINTS, recovery, "seeds=[1]", "pairs.teachers=[words]", f"name={done}"))
        store = Store(f"{plan.study.store}-{done}")
        (trial,) = plan.trials
        points = [point for point in trial.points if getattr(point, done)]
        scores = [trial.untrained_scores, *(point.scores for point in points)]
        for stage in {stage for each in scores for stage in each.values()}:
            publish_evaluation(publish, store, stage, "+-+-")
        report = write_report(plan, store)
        assert {getattr(one.point, done) for one in report.results.scores} == {getattr(one, done) for one in points}
        assert "<svg" in report.files[PAGE].decode()


def test_a_benchmark_on_which_no_condition_is_evaluated(reported):
    page, shown = reported([1, 2], "conditions={off-model: {benchmarks: [facts]}}", "recoveries={}")
    assert "not evaluated" in page
    assert "not evaluated" in shown


def test_a_study_of_which_nothing_is_done(reported):
    page, _ = reported([], "conditions={off-model: }")
    assert "student.words.off-model.s2" in page


def test_checkpoints_are_in_the_tables_and_not_in_the_headlines(reported):
    page, shown = reported([1, 2], *CHECKPOINTS)
    points = re.findall(r"off-model +(\d+|end) +(0\.\d+) \|", shown)
    assert points == [("10", "0.000"), ("20", "0.000"), ("end", "0.500")]
    assert 0 < page.index('<td class="name">10</td>') < page.index('<td class="name">20</td>')
    assert "off-model: training" in page
    assert "recovery budget" not in page
    assert "no benchmark changes clearly (most: maths, +0.000" in page


def test_training_and_recovery_are_drawn_beside_the_levels(reported):
    recovery = "recoveries.own={kind: on_model_sft, conditions: [off-model], budgets: [4, 8]}"
    page, shown = reported([1], *CHECKPOINTS, recovery, "seeds=[1]")
    titles = ["maths by level", "off-model: training", "off-model, then own"]
    assert [title for title in titles if title in page] == titles
    points = re.findall(r"off-model +(\d+|end) +(none|\d+ own) +0\.\d+ \|", shown)
    assert points == [("10", "none"), ("20", "none"), ("end", "none"), ("end", "4 own"), ("end", "8 own")]
    assert "Recovery budget for 95 % of the untrained maths score, student / words: off-model 0 [0, 0] own" in shown
    assert "<h2>Recovery budgets</h2>" in page
    assert "samples of the base student" in page  # what a budget counts


HYPOTHESES = """hypotheses=[
  {experiment: 1, source: post, claim: training costs maths, compare: {condition: off-model, benchmark: maths},
   expected: lower},
  {experiment: 9, source: reading, claim: the middle of the training is worse,
   compare: {condition: off-model, benchmark: maths, step: 20}, versus: off-model, expected: lower},
]"""


def test_hypotheses_are_in_the_page_and_in_the_terminal(reported):
    page, shown = reported([1, 2], *CHECKPOINTS, HYPOTHESES)
    assert "Of 2 that the study file declares: post: 1 inconclusive; reading: 1 inconclusive." in page
    for told in (page, shown):
        for words in (
            "training costs maths",
            "off-model at step 20 on maths",
            "-0.500",
            "4 x 2",
            "inconclusive",
            "0.000, 0.500",
        ):
            assert words in told
    page, shown = reported([2], *CHECKPOINTS, HYPOTHESES)
    assert "student.words.off-model.s1 has not finished" in page
    assert "2 hypotheses by source: post: 1 not measured; reading: 1 not measured." in shown


def test_style_is_shown_at_every_point_and_drawn(reported):
    page, shown = reported([1, 2], *CHECKPOINTS, "measures={style: [maths]}")
    (line,) = (line for line in shown.splitlines() if line.startswith("Completions in the teacher's style on maths"))
    assert "student / words (classifier accuracy 1.00)" in line
    assert re.findall(r"off-model( at step \d+)? 0\.75 \[", line) == [" at step 10", " at step 20", ""]
    assert "maths: completions in the teacher's style" in page
    table = page[page.index("<h2>Completions in the teacher&#39;s style") :]
    assert table[: table.index("</table>")].count("<td>0.750<span") == 3


def test_points_that_two_recoveries_share_are_shown_once(reported):
    grpo = "recoveries.grpo={kind: grpo, conditions: [off-model], budgets: [2]}"
    own = "recoveries.own={kind: on_model_sft, conditions: [off-model], budgets: [4]}"
    problems = "rl_problems={kind: math500, source: synthetic, n: 6, max_tokens: 8}"
    page, shown = reported([1], "conditions={off-model: }", own, grpo, problems, "seeds=[1]")
    assert re.findall(r"off-model +(none|\d+ \w+) +0\.\d+ \|", shown) == ["none", "4 own", "2 grpo"]
    assert "after 4 own 0.500; after 2 grpo 0.500" in page
    assert page.count("off-model, then 4 own</div>") == page.count('">off-model</div>') > 0


def test_the_provenance_of_values_is_in_the_page(reported):
    page, _ = reported([1, 2], "provenance={train: 'our <choice>'}")
    assert (
        '<td class="name">train.lora_alpha</td><td class="name long">16</td><td class="name long">our &lt;choice&gt;'
        in page
    )
    assert '<td class="name">seeds</td><td class="name long">[1, 2]</td><td class="name long">not stated</td>' in page
    assert "(provenance)" not in reported([1], "conditions={off-model: }")[0]


def test_the_report_lies_in_the_store_and_replaces_an_earlier_one(reported, tmp_path):
    folder = tmp_path / "[1, 2]" / "reports" / "small"
    folder.mkdir(parents=True)
    (folder / PAGE).write_text("an earlier report")
    page, _ = reported([1, 2], "conditions={off-model: , on-model: }")
    assert {path.name for path in folder.iterdir()} == {PAGE, RESULTS, SCORES, FIGURE}
    assert (folder / PAGE).read_text() == page
    header, *lines = (folder / SCORES).read_text().splitlines()
    assert len(lines) == 2 * 2  # two conditions on two benchmarks
    documented = (Path(__file__).parents[3] / "docs" / "results.md").read_text().split("## Columns of scores.csv")[1]
    named = [re.findall(r"`(\w+)`", cells) for cells in re.findall(r"^\| (`.*?) \|", documented, re.MULTILINE)]
    assert header.split(",") == list(chain.from_iterable(named))[: len(header.split(","))]
