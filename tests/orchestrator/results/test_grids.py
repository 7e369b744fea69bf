"""Grids of students and teachers, read from hand-made evaluations, and how the report shows them."""

import io
import json
import math
from dataclasses import replace

import pytest
from rich.console import Console

from orchestrator.plan.build import build_plan
from orchestrator.results.figures import as_svg, grid_figure
from orchestrator.results.grids import pairs_in_grid
from orchestrator.results.model import Results
from orchestrator.results.read import read_results
from orchestrator.results.report import GRID, PAGE, RESULTS, write_report
from orchestrator.results.tables import show_results
from orchestrator.store.reader import StageReader
from orchestrator.store.store import Store
from tests.orchestrator.results.test_results import publish_evaluation

MODELS = "models={a: organism:steps, b: organism:shown, c: organism:steered, x: organism:words, y: organism:terse}"
GRID_3_2 = "pairs={students: [a, b, c], teachers: [x, y]}"
# The answers of each pair's students. Untrained students solve all by default, and checkpoints and recoveries nothing.
LETTERS = {"a.x": "++--", "a.y": "++--", "b.x": "+++-", "b.y": "+---", "c.x": "++++", "c.y": "++++"}
CHANGES = [[-0.5, -0.5], [-0.25, -0.75], [0, 0]]
TITLE = "Change of score by student and teacher: off-model on maths"


@pytest.fixture
def finished(small, publish):
    """The plan and the store of a study, given the answers of pairs and of untrained students, and the trials to leave
    out."""

    def act(
        letters: dict[str, str], *overrides: str, without: tuple[str, ...] = (), untrained: dict[str, str] | None = None
    ):
        plan = build_plan(small(MODELS, GRID_3_2, "conditions={off-model: }", "recoveries={}", *overrides))
        store, done = Store(plan.study.store), {}
        for trial in plan.trials:
            done |= dict.fromkeys(trial.untrained_scores.values(), (untrained or {}).get(trial.student, "++++"))
            done |= dict.fromkeys(trial.teacher_scores.values(), "++++")
            pair = ".".join(trial.pair)
            if pair in letters and f"{pair}.s{trial.seed}" not in without:
                for point in trial.points:
                    is_trained = not point.budget and point.step is None
                    done |= dict.fromkeys(point.scores.values(), letters[pair] if is_trained else "----")
        for stage, each in done.items():
            publish_evaluation(publish, store, stage, each)
        return plan, store

    return act


def read(plan, store: Store) -> Results:
    return read_results(plan, StageReader(store, store.records(plan.stages)))


def shown_in_terminal(plan, results: Results) -> str:
    console = Console(file=io.StringIO(), width=200)
    show_results(console, plan.study, results)
    return console.file.getvalue()


def matrix(plan, results: Results) -> list[list[str]]:
    """The words of the lines below the title of the first grid, until an empty line."""
    shown = shown_in_terminal(plan, results)
    return [line.split() for line in shown.split(TITLE)[1].split("\n\n")[0].splitlines()[1:]]


def values(grid) -> list[list[float | None]]:
    return [[None if one is None else one.value for one in row] for row in grid.changes]


def test_a_grid_is_in_the_report_with_its_heat_map_and_numbers(finished):
    files = write_report(*finished(LETTERS, "seeds=[1]")).files
    page = files[PAGE].decode()
    assert "Change of score by student and teacher: off-model" in page
    assert "<h2>Change of score by student and teacher: shares of the variance</h2>" in page
    assert files[GRID].startswith(b"\x89PNG")
    maths, facts = json.loads(files[RESULTS])["grids"]
    assert (maths["condition"], maths["benchmark"], facts["benchmark"]) == ("off-model", "maths", "facts")
    assert (maths["students"], maths["teachers"]) == (["a", "b", "c"], ["x", "y"])
    assert [[one["value"] for one in row] for row in maths["changes"]] == CHANGES
    shares = [maths["variance"][name]["value"] for name in ("student", "teacher", "pairing")]
    assert sum(shares) + maths["variance"]["noise"] == pytest.approx(1)
    assert f"<td>{100 * shares[0]:.0f} %<span" in page


def test_the_terminal_shows_a_row_for_each_student(finished):
    plan, store = finished(LETTERS)
    *rows, variance = matrix(plan, read(plan, store))
    assert rows == [
        ["student", "x", "y"],
        ["a", "-0.500", "-0.500"],
        ["b", "-0.250", "-0.750"],
        ["c", "+0.000", "+0.000"],
    ]
    assert variance[:2] == ["Variance:", "student"]


def test_the_variance_is_that_of_the_changes(finished):
    grid = read(*finished(LETTERS)).grids[0]
    assert (grid.n, grid.seeds, len(grid.pairs)) == (4, [1, 2], 6)
    # Around -1/3 the students' effects are -1/6, -1/6, 1/3, the teachers' ± 1/12, the pairings' ± 1/12, 1/6, 1/12.
    of_parts = ((1 / 36 + 1 / 36 + 1 / 9) / 3, 1 / 144, (1 / 72 + 1 / 36) / 3)
    assert grid.variance.sd**2 == pytest.approx(sum(of_parts))
    assert grid.variance.student.value > grid.variance.pairing.value > grid.variance.teacher.value


def test_changes_are_from_the_untrained_student(finished):
    """All trained students answer alike, and the untrained ones do not, so that all of the variance is of students."""
    grid = read(*finished(dict.fromkeys(LETTERS, "++--"), untrained={"b": "++--", "c": "----"})).grids[0]
    assert values(grid) == [[-0.5, -0.5], [0, 0], [0.5, 0.5]]
    assert (grid.variance.teacher.value, grid.variance.pairing.value) == pytest.approx((0, 0))
    assert grid.variance.student.value + grid.variance.noise == pytest.approx(1)
    assert grid.variance.student.value > 0.7


def test_pairs_without_a_result_are_left_blank(finished):
    plan, store = finished({pair: each for pair, each in LETTERS.items() if pair != "c.y"})
    results = read(plan, store)
    assert matrix(plan, results)[3] == ["c", "+0.000"]
    grid = results.grids[0]
    assert values(grid) == [*CHANGES[:2], [0, None]]
    assert grid.pairs == [("a", "x"), ("a", "y"), ("b", "x"), ("b", "y")]  # `c` has one teacher
    assert grid.variance.student.value == pytest.approx(0)
    panel, _, scale = grid_figure(results.grids).axes
    assert [text.get_text() for text in panel.texts] == ["-0.50", "-0.50", "-0.25", "-0.75", "+0.00", "no result"]
    assert scale.get_ylabel() == "change of score"
    assert math.isnan(panel.images[0].get_array().filled(math.nan)[2][1])


def test_the_heat_map_has_losses_in_red_and_gains_in_blue(finished):
    panel = grid_figure(read(*finished(LETTERS)).grids).axes[0]
    assert [label.get_text() for label in panel.get_yticklabels()] == ["a", "b", "c"]
    assert [label.get_text() for label in panel.get_xticklabels()] == ["x", "y"]
    picture = panel.images[0]
    red, _, blue, _ = picture.cmap(picture.norm(-0.75))
    assert red > blue
    assert picture.get_clim() == (-0.75, 0.75)


def test_names_with_dollars_are_drawn_as_they_are(finished):
    (grid, *_) = read(*finished(LETTERS)).grids
    name = r"$\foo$"
    named = replace(grid, condition=name, benchmark=name, students=[name] * 3, teachers=[name] * 2)
    assert name in as_svg(grid_figure([named]))


def test_only_seeds_of_all_pairs_count(finished):
    grid = read(*finished(LETTERS, without=("b.x.s2",))).grids[0]
    assert grid.seeds == [1]
    assert grid.variance is not None


def test_without_a_seed_of_all_pairs_there_are_no_shares(finished):
    plan, store = finished(LETTERS, without=("b.x.s2", "a.y.s1"))
    report = write_report(plan, store)
    grid = report.results.grids[0]
    assert (values(grid), grid.seeds, grid.variance) == (CHANGES, [], None)
    assert "Variance: no seed has finished for all pairs" in shown_in_terminal(plan, report.results)
    assert "<td>no seed has finished for all pairs</td>" in report.files[PAGE].decode()


def test_pairs_that_changed_alike_have_no_shares(finished):
    plan, store = finished(dict.fromkeys(LETTERS, "+---"))
    assert "Variance: all pairs changed alike" in shown_in_terminal(plan, read(plan, store))


def test_recoveries_and_checkpoints_are_no_part_of_a_grid(finished):
    recovery = "recoveries.own={kind: on_model_sft, conditions: [off-model], budgets: [4]}"
    training = "train={learning_rate: 1, max_steps: 30, checkpoints: [10]}"
    found = read(*finished(LETTERS, recovery, training)).grids
    assert [(grid.condition, grid.benchmark) for grid in found] == [("off-model", "maths"), ("off-model", "facts")]
    assert values(found[0]) == CHANGES
    assert found[0].variance.sd > 0.2


def test_a_condition_in_which_teachers_play_no_part_has_no_grid(finished):
    found = read(*finished(LETTERS, "conditions={off-model: , on-model: }")).grids
    assert {grid.condition for grid in found} == {"off-model"}


@pytest.mark.parametrize("pairs", ["{students: [a], teachers: [x, y]}", "[a / x, a / y, b / x, c / x]"])
def test_pairs_that_form_no_grid_have_none(finished, pairs):
    plan, store = finished(LETTERS, f"pairs={pairs}", "seeds=[1]")
    report = write_report(plan, store)
    assert report.results.scores
    assert report.results.grids == []
    assert GRID not in report.files
    assert "by student and teacher" not in shown_in_terminal(plan, report.results) + report.files[PAGE].decode()


def test_students_and_teachers_with_one_partner_are_left_out_again_and_again():
    square = [("a", "x"), ("a", "y"), ("b", "x"), ("b", "y")]
    assert pairs_in_grid([*square, ("c", "y"), ("c", "z"), ("d", "z")]) == square
    ring = [("a", "x"), ("a", "y"), ("b", "y"), ("b", "z"), ("c", "z"), ("c", "x")]
    assert pairs_in_grid(ring) == ring
    assert pairs_in_grid([]) == []
