"""The report's figures, drawn with matplotlib."""

import io
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from orchestrator.measures import MEASURES, POINTS, SCORE
from orchestrator.results.grids import TITLE, shares
from orchestrator.results.model import GridResult, Measurement, Results

INK, FAINT, GRID = "#1f2933", "#7b8794", "#e4e7eb"
SERIES = ("#c2410c", "#1d4ed8", "#047857", "#7e22ce", "#a16207", "#be185d", "#0e7490", "#4d7c0f")
MARKERS = "osDv^PX*"
DASHED = (0, (4, 3))
STYLE = {
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": GRID,
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "text.parse_math": False,  # Names may contain dollars.
    "svg.hashsalt": "offmodel",
    "svg.fonttype": "none",
}


DODGE = 0.05  # of the distance of two points on an axis: lines of the same values lie beside each other
UNTRAINED = "untrained student"
SHARES = (-0.03, 1.05)  # the limits of an axis of shares
SMALLEST_LIMIT = 0.1  # of the colours of a heat map: smaller changes stay pale


def pair_figure(
    results: Results,
    student: str,
    teacher: str,
    benchmark: str,
    units: Mapping[str, str],
    prefills: Mapping[str, str],
) -> Figure:
    """A pair's scores in up to five kinds of panels.

    One benchmark by level, if it has levels; all benchmarks over the first training, if it has checkpoints; all
    benchmarks over the recovery budget, or, of several recoveries, this benchmark over the budgets of each; over the
    length of the prefill; and each other measure of points beside the score. `units` is what the budgets of a recovery
    count, and `prefills` how much each condition prefills.
    """
    scores = _of_pair(results.scores, student, teacher)
    on_benchmark = [one for one in scores if one.benchmark == benchmark and one.point.step is None]
    panels: list[Callable[[Axes], None]] = []
    if on_benchmark and "level" in on_benchmark[0].untrained_groups:
        panels.append(lambda axes: _levels(axes, on_benchmark))
    if any(one.point.step for one in scores):
        panels.append(lambda axes: _training(axes, scores))
    if any(one.point.budget for one in scores):
        after_training = [one for one in scores if one.point.step is None]
        panels.append(lambda axes: _recovery(axes, after_training, benchmark, units))
    if len({one.point.condition for one in scores} & prefills.keys()) > 1:
        panels.append(lambda axes: _prefills(axes, scores, prefills))
    panels += _other_measures(results, student, teacher, benchmark, scores)
    panels = panels or [lambda axes: _bars(axes, on_benchmark)]
    with plt.rc_context(STYLE):
        across = len(panels) if len(panels) < 4 else 2
        down = math.ceil(len(panels) / across)
        figure, axes = plt.subplots(down, across, figsize=(max(10.5, 5 * across), 3.9 * down), squeeze=False)
        for place, draw in zip(axes.flat, panels, strict=False):
            draw(place)
        for unused in list(axes.flat)[len(panels) :]:
            unused.set_visible(False)
        title = f"{student} / {teacher} (student / teacher)"
        figure.suptitle(title, x=0.015, ha="left", fontsize=13, fontweight="bold")
        figure.tight_layout(rect=(0, 0, 1, 0.97))
    return figure


def grid_figure(grids: Sequence[GridResult]) -> Figure:
    """Heat maps of the changes of one condition, by student and teacher: a panel for each benchmark."""
    changes = [one for grid in grids for row in grid.changes for one in row if one is not None]
    limit = max(SMALLEST_LIMIT, *(abs(one.value) for one in changes))
    students, teachers = (max(len(getattr(grid, names)) for grid in grids) for names in ("students", "teachers"))
    with plt.rc_context({**STYLE, "axes.grid": False}):
        across = min(len(grids), 2)
        down = math.ceil(len(grids) / across)
        size = (across * max(5.2, 2.2 + teachers), down * (1.9 + 0.55 * students))
        figure, axes = plt.subplots(down, across, figsize=size, squeeze=False, layout="constrained")
        for place, grid in zip(axes.flat, grids, strict=False):
            _heat_map(place, grid, limit)
        for unused in list(axes.flat)[len(grids) :]:
            unused.set_visible(False)
        scale = figure.colorbar(axes.flat[0].images[0], ax=axes, shrink=0.9)
        scale.set_label("change of score")
        scale.outline.set_visible(False)
        note = f"change from the {UNTRAINED}; bold: its 95 % interval excludes 0"
        figure.supxlabel(note, x=0.015, ha="left", fontsize=8.5, color=FAINT)
        figure.suptitle(f"{TITLE}: {grids[0].condition}", x=0.015, ha="left", fontsize=13, fontweight="bold")
    return figure


def _heat_map(axes: Axes, grid: GridResult, limit: float) -> None:
    """Losses in red and gains in blue; changes whose interval excludes 0 in bold. Pairs without a result are grey."""
    values = [[math.nan if one is None else one.value for one in row] for row in grid.changes]
    axes.set_facecolor(GRID)
    axes.imshow(values, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto")
    for i, row in enumerate(grid.changes):
        for j, one in enumerate(row):
            if one is None:
                axes.text(j, i, "no result", ha="center", va="center", color=FAINT, fontsize=8.5)
            else:
                weight = "normal" if one.low <= 0 <= one.high else "bold"
                color = "white" if abs(one.value) > 0.65 * limit else INK
                axes.text(j, i, f"{one.value:+.2f}", ha="center", va="center", color=color, fontweight=weight)
    axes.set_xticks(range(len(grid.teachers)), grid.teachers, rotation=20, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(grid.students)), grid.students)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="teacher", ylabel="student")
    axes.set_title(f"{grid.benchmark}\n{shares(grid, intervals=False)}")


def _of_pair(measurements: Sequence[Measurement], student: str, teacher: str) -> list[Measurement]:
    return [one for one in measurements if (one.point.student, one.point.teacher) == (student, teacher)]


def _line(i: int) -> dict[str, Any]:
    """The look of line `i`: each is thinner than the one below it, so that lines that coincide can all be seen."""
    thinner = 0.7 ** min(i, 5)
    return {
        "color": SERIES[i % len(SERIES)],
        "marker": MARKERS[i % len(MARKERS)],
        "lw": 1 + 2 * thinner,
        "ms": 3 + 5 * thinner,
    }


def _shown(scores: Sequence[Measurement]) -> list[Measurement]:
    """Of each condition, the student before any recovery and after the largest budget of each recovery that all seeds
    have run: a search runs the largest of all with some seeds only."""
    seeds = {one.point.condition: one.seeds for one in scores if not one.point.budget}
    whole = [one for one in scores if one.seeds == seeds.get(one.point.condition, one.seeds)]
    last = {(one.point.condition, one.point.recovery): one for one in whole}  # budgets go upwards
    return [one for one in whole if one is last[one.point.condition, one.point.recovery]]


def _levels(axes: Axes, scores: Sequence[Measurement]) -> None:
    untrained = scores[0].untrained_groups["level"]
    axes.plot(range(len(untrained)), list(untrained.values()), color=INK, lw=1.2, ls=DASHED, zorder=4, label=UNTRAINED)
    shown = _shown(scores)
    for i, one in enumerate(shown[: len(SERIES)]):
        places = [place + i * DODGE for place in range(len(untrained))]
        axes.plot(places, list(one.groups["level"].values()), **_line(i), label=one.point.name)
    axes.set_xticks(range(len(untrained)), list(untrained))
    some = f": the first {len(SERIES)} of {len(shown)}" if len(shown) > len(SERIES) else ""
    axes.set(ylim=SHARES, ylabel="score", xlabel="level (steps of reasoning)")
    axes.set_title(f"{scores[0].benchmark} by level{some}")
    axes.legend(loc="lower left")


def _training(axes: Axes, scores: Sequence[Measurement]) -> None:
    """The first condition that has checkpoints, over its training."""
    condition = next(one.point.condition for one in scores if one.point.step)
    scores = [one for one in scores if one.point.condition == condition and not one.point.budget]
    steps = sorted({one.point.step for one in scores if one.point.step is not None})
    places: dict[int | None, int] = {**{step: i for i, step in enumerate(steps)}, None: len(steps)}
    _curves(axes, scores, places, lambda one: one.point.step, lambda one: str(one.benchmark))
    axes.set_xticks(range(len(steps) + 1), [*map(str, steps), "end"])
    axes.set(xlabel="training step", title=f"{condition}: training")


def _recovery(axes: Axes, scores: Sequence[Measurement], benchmark: str, units: Mapping[str, str]) -> None:
    """The first condition with a recovery, over the budgets: a line for each benchmark, or for each recovery."""
    condition = next(one.point.condition for one in scores if one.point.budget)
    scores = [one for one in scores if one.point.condition == condition]
    budgets = sorted({one.point.budget for one in scores})
    places = {budget: i for i, budget in enumerate(budgets)}
    names = list(dict.fromkeys(one.point.recovery for one in scores if one.point.budget))
    if len(names) == 1:
        _curves(axes, scores, places, lambda one: one.point.budget, lambda one: str(one.benchmark))
        unit, title = units[names[0]], f"{condition}, then {names[0]}"
    else:
        scores = [one for one in scores if one.benchmark == benchmark]
        before = [one for one in scores if not one.point.budget]
        starts = [replace(one, point=replace(one.point, recovery=name)) for name in names for one in before]
        scores = [*starts, *(one for one in scores if one.point.budget)]
        _curves(axes, scores, places, lambda one: one.point.budget, lambda one: one.point.recovery)
        unit, title = "budget of each recovery", f"{condition}, then a recovery: {benchmark}"
    axes.set_xticks(range(len(budgets)), [str(budget) for budget in budgets])
    axes.set(xlabel=f"recovery: {unit}", title=title)


def _prefills(axes: Axes, scores: Sequence[Measurement], prefills: Mapping[str, str]) -> None:
    """Each benchmark over the length of the prefill."""
    scores = [one for one in scores if one.point.condition in prefills and not one.point.budget and not one.point.step]
    prefilled = {one.benchmark for one in scores if one.point.condition != next(iter(prefills))}
    there = {one.point.condition for one in scores}
    conditions = [condition for condition in prefills if condition in there]
    places: dict[Any, int] = {condition: i for i, condition in enumerate(conditions)}
    scores = [one for one in scores if one.benchmark in prefilled]
    _curves(axes, scores, places, lambda one: one.point.condition, lambda one: str(one.benchmark))
    axes.set_xticks(range(len(conditions)), [prefills[condition] for condition in conditions])
    axes.set(xlabel=f"prefilled tokens of the {UNTRAINED}'s completion", title="prefill")


def _other_measures(
    results: Results, student: str, teacher: str, benchmark: str, scores: Sequence[Measurement]
) -> Iterator[Callable[[Axes], None]]:
    """A panel for each measure of points beside the score that has several points on the benchmark."""
    for name, measurements in results.measurements.items():
        if name != SCORE and MEASURES.module(name).SUBJECT == POINTS:
            line = _longest([one for one in _of_pair(measurements, student, teacher) if one.benchmark == benchmark])
            if len(line) > 1:
                yield partial(_beside_score, name=name, line=line, scores=scores)


def _longest(measurements: Sequence[Measurement]) -> list[Measurement]:
    """The points of the first condition that has the most of them, and, of its recoveries, of the first alone."""
    count = Counter(one.point.condition for one in measurements)
    if not count:
        return []
    condition = next(one.point.condition for one in measurements if count[one.point.condition] == max(count.values()))
    of_condition = [one for one in measurements if one.point.condition == condition]
    recovery = next((one.point.recovery for one in of_condition if one.point.recovery), "")
    return [one for one in of_condition if one.point.recovery in ("", recovery)]


def _beside_score(axes: Axes, name: str, line: Sequence[Measurement], scores: Sequence[Measurement]) -> None:
    """A measure at the points of a condition, and the score if the unit is the same."""
    measure, by_point = MEASURES.module(name), {one.point: one for one in scores if one.benchmark == line[0].benchmark}
    is_share = measure.UNIT == MEASURES.module(SCORE).UNIT
    drawn = {measure.TITLE: line, **({SCORE: [by_point[one.point] for one in line]} if is_share else {})}
    for i, (label, measurements) in enumerate(drawn.items()):
        _curve(axes, i, range(len(line)), measurements, label)
    if is_share:
        axes.set(ylim=SHARES)
    axes.set_xticks(range(len(line)), [one.point.label for one in line])
    axes.set(ylabel=measure.UNIT, xlabel=f"point of {line[0].point.condition} (dashed: {UNTRAINED})")
    axes.set_title(f"{line[0].benchmark}: {measure.TITLE}")
    axes.legend(loc="best")


def _curves(
    axes: Axes,
    scores: Sequence[Measurement],
    places: dict[Any, int],
    place_of: Callable[[Measurement], Any],
    label_of: Callable[[Measurement], str],
) -> None:
    """A line for each label; `places` says where on the axis each point lies."""
    for i, label in enumerate(dict.fromkeys(map(label_of, scores))):
        line = sorted((one for one in scores if label_of(one) == label), key=lambda one: places[place_of(one)])
        _curve(axes, i, [places[place_of(one)] for one in line], line, label)
    axes.set(ylim=SHARES, ylabel="score")
    axes.plot([], [], color=INK, lw=1.2, ls=DASHED, label=UNTRAINED)
    axes.legend(loc="lower right")


def _curve(axes: Axes, i: int, places: Sequence[int], line: Sequence[Measurement], label: str) -> None:
    """Values with their intervals, and the untrained student's value as a dashed line."""
    at, color = [place + i * DODGE for place in places], SERIES[i % len(SERIES)]
    axes.plot(at, [one.value.value for one in line], **_line(i), label=label)
    axes.fill_between(
        at, [one.value.low for one in line], [one.value.high for one in line], color=color, alpha=0.15, lw=0
    )
    if line[0].untrained is not None:
        axes.axhline(line[0].untrained, color=color, lw=1.2, ls=DASHED, zorder=4)


def _bars(axes: Axes, scores: Sequence[Measurement]) -> None:
    """The change of each condition, for a study without levels, checkpoints and recoveries."""
    scores = _shown(scores)
    for place, one in enumerate(scores):
        assert one.change is not None, "scores have a change"
        axes.barh(place, one.change.value, color=SERIES[0], alpha=0.8, height=0.55)
        axes.plot([one.change.low, one.change.high], [place, place], color=INK, lw=1.4)
    axes.set_yticks(range(len(scores)), [one.point.name for one in scores])
    axes.axvline(0, color=INK, lw=0.8)
    axes.invert_yaxis()
    axes.set_title(f"{scores[0].benchmark}: change from the {UNTRAINED}")


def as_svg(figure: Figure) -> str:
    """The figure as an SVG element to put into a page."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    plt.close(figure)
    drawn = text.getvalue()
    return drawn[drawn.index("<svg") :]


def as_png(figure: Figure) -> bytes:
    """The figure as a PNG picture."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=130)
    plt.close(figure)
    return data.getvalue()
