"""The report's figures, drawn with matplotlib."""

import io
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from orchestrator.results.read import Results, Row, Style, when

INK, FAINT, GRID = "#1f2933", "#7b8794", "#e4e7eb"
SERIES = ("#c2410c", "#1d4ed8", "#047857", "#7e22ce", "#a16207", "#be185d", "#0e7490", "#4d7c0f")
MARKERS = "osDv^PX*"
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
    "svg.hashsalt": "offmodel",
    "svg.fonttype": "none",
}


def pair_figure(results: Results, student: str, teacher: str, benchmark: str, spent: dict[str, str]) -> Figure:
    """A pair on one benchmark: its levels (where it has some) before and after; all benchmarks while it was trained
    (where there are checkpoints), and on the way back, against the budget; of several recoveries, this one benchmark on
    each way. `spent` is what the budgets of a recovery count."""
    of_pair = [r for r in results.rows if (r.student, r.teacher) == (student, teacher)]
    rows = [r for r in of_pair if r.benchmark == benchmark and r.at is None]
    panels: list[Callable[[Axes], None]] = []
    if rows[0].original_groups.get("level"):
        panels.append(lambda axes: _levels(axes, rows))
    if any(r.at for r in of_pair):
        panels.append(lambda axes: _training(axes, of_pair))
    if any(r.budget for r in of_pair):
        panels.append(lambda axes: _recovery(axes, [r for r in of_pair if r.at is None], benchmark, spent))
    walked = _most_walked([s for s in results.styles if (s.student, s.teacher) == (student, teacher)], benchmark)
    if len(walked) > 1:
        panels.append(lambda axes: _style(axes, walked, of_pair))
    panels = panels or [lambda axes: _bars(axes, rows)]
    with plt.rc_context(STYLE):
        across = len(panels) if len(panels) < 4 else 2
        down = math.ceil(len(panels) / across)
        figure, axes = plt.subplots(down, across, figsize=(max(10.5, 5 * across), 3.9 * down), squeeze=False)
        for place, draw in zip(axes.flat, panels, strict=True):
            draw(place)
        figure.suptitle(
            f"{student}, trained on the answers of {teacher}", x=0.015, ha="left", fontsize=13, fontweight="bold"
        )
        figure.tight_layout(rect=(0, 0, 1, 0.97))
    return figure


def _label(row: Row) -> str:
    return f"{row.condition}, then {when(row.recovery, row.budget, None)}" if row.budget else row.condition


def _line(i: int) -> dict[str, Any]:
    """The look of line `i`: each is thinner than the one below it, so that lines that coincide can all be seen."""
    thinner = 0.7 ** min(i, 5)
    return {
        "color": SERIES[i % len(SERIES)],
        "marker": MARKERS[i % len(MARKERS)],
        "lw": 1 + 3 * thinner,
        "ms": 3 + 7 * thinner,
    }


def _shown(rows: Sequence[Row]) -> list[Row]:
    """Of each condition, the student before any recovery and after the largest budget of each that all seeds have seen:
    a search takes only the slowest ones to the largest of all."""
    seeds = {row.condition: row.seeds for row in rows if not row.budget}
    whole = [row for row in rows if row.seeds == seeds[row.condition]]
    last = {(row.condition, row.recovery): row for row in whole}  # budgets go upwards
    return [row for row in whole if row is last[row.condition, row.recovery]]


def _levels(axes: Axes, rows: Sequence[Row]) -> None:
    levels = list(rows[0].original_groups["level"])
    before = list(rows[0].original_groups["level"].values())
    axes.plot(levels, before, color=FAINT, lw=10, alpha=0.4, label="original student")
    shown = _shown(rows)
    for i, row in enumerate(shown[: len(SERIES)]):
        axes.plot(levels, list(row.groups["level"].values()), **_line(i), label=_label(row))
    axes.set_ylim(-0.03, 1.05)
    axes.set_xlabel("level (steps of reasoning)")
    axes.set_ylabel("accuracy")
    some = f": the first {len(SERIES)} of {len(shown)}" if len(shown) > len(SERIES) else ""
    axes.set_title(f"{rows[0].benchmark}, by level{some}", loc="left", fontsize=10.5)
    axes.legend(frameon=False, fontsize=8.5, loc="lower left")


def _training(axes: Axes, rows: Sequence[Row]) -> None:
    """The first condition that has checkpoints, over its training."""
    trained = next(r.condition for r in rows if r.at)
    rows = [r for r in rows if r.condition == trained and not r.budget]
    steps = sorted({r.at for r in rows if r.at is not None})
    places: dict[int | None, int] = {**{at: i for i, at in enumerate(steps)}, None: len(steps)}
    _curves(axes, rows, places, lambda row: row.at, lambda row: row.benchmark)
    axes.set_xticks(range(len(steps) + 1), [*map(str, steps), "end"])
    axes.set_xlabel("step of the training (dashed: the original student)")
    axes.set_title(f"{trained}, while it is trained", loc="left", fontsize=10.5)


def _recovery(axes: Axes, rows: Sequence[Row], benchmark: str, spent: dict[str, str]) -> None:
    """The first condition that is brought back, over the budgets: a line for each benchmark, or for each recovery."""
    walked = next(r.condition for r in rows if r.budget)
    rows = [r for r in rows if r.condition == walked]
    budgets = sorted({r.budget for r in rows})
    places = {budget: i for i, budget in enumerate(budgets)}
    names = list(dict.fromkeys(r.recovery for r in rows if r.budget))
    if len(names) == 1:
        _curves(axes, rows, places, lambda row: row.budget, lambda row: row.benchmark)
        counted, title = spent[names[0]], f"{walked}, and the way back"
    else:
        rows = [r for r in rows if r.benchmark == benchmark]
        before = [r for r in rows if not r.budget]
        starts = [replace(r, recovery=name) for name in names for r in before]
        rows = [*starts, *(r for r in rows if r.budget)]
        _curves(axes, rows, places, lambda row: row.budget, lambda row: row.recovery)
        counted, title = "budget", f"{walked}, and the ways back: {benchmark}"
    axes.set_xticks(range(len(budgets)), [str(b) for b in budgets])
    axes.set_xlabel(f"{counted} afterwards (dashed: the original student)", fontsize=9)
    axes.set_title(title, loc="left", fontsize=10.5)


def _most_walked(styles: Sequence[Style], benchmark: str) -> list[Style]:
    """The points of the first condition that has the most of them, and, of its recoveries, of the first alone."""
    of_benchmark = [s for s in styles if s.benchmark == benchmark]
    points = Counter(s.condition for s in of_benchmark)
    of_condition = [s for s in of_benchmark if points[s.condition] == max(points.values())]
    of_condition = [s for s in of_condition if s.condition == of_condition[0].condition]
    recovery = next((s.recovery for s in of_condition if s.recovery), "")
    return [s for s in of_condition if s.recovery in ("", recovery)]


def _style(axes: Axes, styles: Sequence[Style], rows: Sequence[Row]) -> None:
    """Style and score at these points of a condition."""
    benchmark = styles[0].benchmark
    scores = {(r.condition, r.recovery, r.budget, r.at): r for r in rows if r.benchmark == benchmark}
    at = range(len(styles))
    score = [scores[s.condition, s.recovery, s.budget, s.at].score for s in styles]
    lines = (("reads like the teacher", [s.share for s in styles]), ("score", score))
    for i, (label, line) in enumerate(lines):
        axes.plot(at, [one.value for one in line], **_line(i), label=label)
        axes.fill_between(at, [o.low for o in line], [o.high for o in line], color=SERIES[i], alpha=0.15, lw=0)
    axes.axhline(styles[0].original, color=SERIES[0], lw=0.9, ls=(0, (4, 3)), alpha=0.8)
    axes.set_ylim(-0.03, 1.05)
    axes.set_xticks(at, [when(s.recovery, s.budget, s.at) for s in styles])
    axes.set_xlabel(f"point of {styles[0].condition} (dashed: the original student's style)")
    apart = "" if styles[0].clear else ", which the probe hardly tells apart"
    axes.set_title(f"{benchmark}: style and score{apart}", loc="left", fontsize=10.5)
    axes.legend(frameon=False, fontsize=8.5, loc="best")


def _curves(
    axes: Axes, rows: Sequence[Row], places: dict[Any, int], of: Callable[[Row], Any], kind: Callable[[Row], str]
) -> None:
    """A line for each `kind` of row; `places` says where each point, `of` a row, is on the axis."""
    for i, name in enumerate(dict.fromkeys(map(kind, rows))):
        color = SERIES[i % len(SERIES)]
        line = sorted((r for r in rows if kind(r) == name), key=lambda r: places[of(r)])
        at = [places[of(r)] for r in line]
        axes.plot(at, [r.score.value for r in line], **_line(i), label=name)
        axes.fill_between(at, [r.score.low for r in line], [r.score.high for r in line], color=color, alpha=0.15, lw=0)
        axes.axhline(line[0].original, color=color, lw=0.9, ls=(0, (4, 3)), alpha=0.8)
    axes.set_ylim(-0.03, 1.05)
    axes.legend(frameon=False, fontsize=8.5, loc="lower right")


def _bars(axes: Axes, rows: Sequence[Row]) -> None:
    rows = _shown(rows)
    places = range(len(rows))
    axes.barh(places, [r.change.value for r in rows], color=SERIES[0], alpha=0.8, height=0.55)
    for place, row in zip(places, rows, strict=True):
        axes.plot([row.change.low, row.change.high], [place, place], color=INK, lw=1.4)
    axes.set_yticks(places, [_label(r) for r in rows])
    axes.axvline(0, color=INK, lw=0.8)
    axes.invert_yaxis()
    axes.set_title(f"{rows[0].benchmark}: change from the original student", loc="left", fontsize=10.5)


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
