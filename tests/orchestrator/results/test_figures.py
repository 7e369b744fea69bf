"""The panels of a pair's figure, from hand-made measurements."""

from dataclasses import fields

import pytest

from evaluators.analysis.statistics import Interval
from orchestrator.results.figures import as_svg, pair_figure
from orchestrator.results.model import Measurement, Point, Results

UNITS = {"own": "samples", "grpo": "steps"}


def measurement(value: float, benchmark: str = "maths", measure: str = "score", **fields) -> Measurement:
    """Of the condition off-model; `fields` are of the point or of the measurement."""
    place = {key: fields.pop(key) for key in ("condition", "recovery", "budget", "step") if key in fields}
    interval = Interval(value, value - 0.1, value + 0.1)
    return Measurement(
        measure=measure,
        point=Point(**{"student": "student", "teacher": "words", "condition": "off-model", **place}),
        benchmark=benchmark,
        seeds=[1],
        n=4,
        value=interval,
        change=interval,
        untrained=0.9,
        diagnostics={},
        **fields,
    )


def panels(*measurements: Measurement, prefills: dict[str, str] | None = None):
    """The axes of the figure."""
    by_measure: dict[str, list[Measurement]] = {}
    for one in measurements:
        by_measure.setdefault(one.measure, []).append(one)
    empty: dict[str, list] = {field.name: [] for field in fields(Results)}
    results = Results(**{**empty, "measurements": by_measure})
    return pair_figure(results, "student", "words", "maths", UNITS, prefills or {}).axes


def x_of(line) -> list[int]:
    """The places of a line's points; lines are drawn a little beside each other."""
    return [round(x) for x in line.get_xdata()]


def test_the_curve_of_a_training_ends_at_its_end():
    during = [measurement(0.2, step=5), measurement(0.3, step=10), measurement(0.4)]
    training, recovery = panels(*during, measurement(0.8, recovery="own", budget=4))
    assert [label.get_text() for label in training.get_xticklabels()] == ["5", "10", "end"]
    assert [list(line.get_ydata()) for line in training.lines[:2]] == [[0.2, 0.3, 0.4], [0.9, 0.9]]
    assert x_of(training.lines[0]) == [0, 1, 2]
    assert [label.get_text() for label in recovery.get_xticklabels()] == ["0", "4"]
    assert list(recovery.lines[0].get_ydata()) == [0.4, 0.8]
    assert recovery.get_xlabel() == "recovery: samples"
    assert as_svg(training.figure).startswith("<svg")


def test_each_recovery_has_a_line_from_the_point_that_all_share():
    scores = [
        measurement(0.4),
        measurement(0.8, recovery="own", budget=4),
        measurement(0.6, recovery="grpo", budget=2),
        measurement(0.7, recovery="grpo", budget=8),
    ]
    elsewhere = [measurement(0.1, "facts"), measurement(0.2, "facts", recovery="own", budget=4)]
    (panel,) = panels(*scores, *elsewhere)
    lines = {line.get_label(): (x_of(line), list(line.get_ydata())) for line in panel.lines}
    assert lines["own"] == ([0, 2], [0.4, 0.8])
    assert lines["grpo"] == ([0, 1, 3], [0.4, 0.6, 0.7])
    assert [label.get_text() for label in panel.get_xticklabels()] == ["0", "2", "4", "8"]
    assert "maths" in panel.get_title(loc="left")


def test_lines_by_level_are_of_the_first_conditions_and_the_title_says_so():
    levels = {"level": {"1": 1.0, "2": 0.5}}
    scores = [measurement(0.4, condition=f"c{i}", groups=levels, untrained_groups=levels) for i in range(10)]
    (panel,) = panels(*scores)
    assert len(panel.lines) == 1 + 8  # the untrained student's
    assert panel.get_title(loc="left") == "maths by level: the first 8 of 10"


@pytest.mark.parametrize(("measure", "has_score"), [("style", True), ("kl", False)])
def test_another_measure_is_drawn_along_the_first_recovery(measure, has_score):
    points = [{}, {"recovery": "own", "budget": 4}, {"recovery": "grpo", "budget": 2}]
    scores = [measurement(0.4 + i / 10, **point) for i, point in enumerate(points)]
    others = [measurement(0.5, measure=measure, **point) for point in points]
    _, panel = panels(*scores, *others)
    assert [label.get_text() for label in panel.get_xticklabels()] == ["trained", "4 own"]
    drawn = [list(line.get_ydata()) for line in panel.lines if not line.get_label().startswith("_")]
    assert drawn == ([[0.5, 0.5], [0.4, 0.5]] if has_score else [[0.5, 0.5]])
    assert len(panels(*scores, others[0])) == 1, "one point is no line"


def test_scores_are_drawn_over_the_length_of_the_prefill():
    prefills = {"off-model": "0", "one": "1", "half": "50 %", "of another pair": "9"}
    scores = [measurement(value, condition=name) for name, value in (("half", 0.9), ("off-model", 0.4), ("one", 0.6))]
    elsewhere = [measurement(0.1, condition="on-model"), measurement(0.3, "facts"), measurement(0.2, step=5)]
    *_, panel = panels(*scores, *elsewhere, prefills=prefills)
    assert panel.get_title(loc="left") == "prefill"
    assert [label.get_text() for label in panel.get_xticklabels()] == ["0", "1", "50 %"]
    lines = [list(line.get_ydata()) for line in panel.lines if not line.get_label().startswith("_")]
    assert lines[0] == [0.4, 0.6, 0.9]
    assert len(lines) == 2, "only the benchmark on which prefills are evaluated, and the untrained student's line"
    assert all(one.get_title(loc="left") != "prefill" for one in panels(*scores[1:2], prefills=prefills))


def test_names_with_dollars_are_drawn_as_they_are():
    (drawn,) = panels(measurement(0.4, condition=r"$\foo$"), measurement(0.4, condition=r"$\foo$", groups={}))
    assert r"$\foo$" in as_svg(drawn.figure)
