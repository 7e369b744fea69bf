"""The report's figures, drawn with matplotlib."""

import io
from collections.abc import Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from orchestrator.results import Results, Row

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


def pair_figure(results: Results, student: str, teacher: str, benchmark: str) -> Figure:
    """A pair on one benchmark: its levels (where it has some) before and after, and the way back against the budget."""
    rows = [r for r in results.rows if (r.student, r.teacher, r.benchmark) == (student, teacher, benchmark)]
    curves = [r for r in rows if any(o.budget for o in rows if o.condition == r.condition)]
    levels = rows[0].original_groups.get("level", {})
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, 2 if levels and curves else 1, figsize=(10.5, 3.9), squeeze=False)
        panels = list(axes[0])
        if levels:
            _levels(panels.pop(0), rows)
        if curves:
            _curve(panels.pop(0), results, student, teacher)
        elif panels:
            _bars(panels.pop(0), rows)
        figure.suptitle(
            f"{student}, trained on the answers of {teacher}", x=0.015, ha="left", fontsize=13, fontweight="bold"
        )
        figure.tight_layout(rect=(0, 0, 1, 0.97))
    return figure


def _label(row: Row) -> str:
    return f"{row.condition}, then {row.budget} own samples" if row.budget else row.condition


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
    """Of each condition, the student before any recovery and after the largest budget."""
    last = {row.condition: max(r.budget for r in rows if r.condition == row.condition) for row in rows}
    return [row for row in rows if row.budget in (0, last[row.condition])]


def _levels(axes: Axes, rows: Sequence[Row]) -> None:
    levels = list(rows[0].original_groups["level"])
    before = list(rows[0].original_groups["level"].values())
    axes.plot(levels, before, color=FAINT, lw=10, alpha=0.4, label="original student")
    for i, row in enumerate(_shown(rows)):
        axes.plot(levels, list(row.groups["level"].values()), **_line(i), label=_label(row))
    axes.set_ylim(-0.03, 1.05)
    axes.set_xlabel("level (steps of reasoning)")
    axes.set_ylabel("accuracy")
    axes.set_title(f"{rows[0].benchmark}, by level", loc="left", fontsize=10.5)
    axes.legend(frameon=False, fontsize=8.5, loc="lower left")


def _curve(axes: Axes, results: Results, student: str, teacher: str) -> None:
    rows = [r for r in results.rows if (r.student, r.teacher) == (student, teacher)]
    walked = next(r.condition for r in rows if r.budget)
    names = list(dict.fromkeys(r.benchmark for r in rows))
    budgets = sorted({r.budget for r in rows if r.condition == walked})
    for i, name in enumerate(names):
        color = SERIES[i % len(SERIES)]
        line = sorted((r for r in rows if r.condition == walked and r.benchmark == name), key=lambda r: r.budget)
        places = [budgets.index(r.budget) for r in line]
        axes.plot(places, [r.score.value for r in line], **_line(i), label=name)
        axes.fill_between(
            places, [r.score.low for r in line], [r.score.high for r in line], color=color, alpha=0.15, lw=0
        )
        axes.axhline(line[0].original, color=color, lw=0.9, ls=(0, (4, 3)), alpha=0.8)
    axes.set_xticks(range(len(budgets)), [str(b) for b in budgets])
    axes.set_ylim(-0.03, 1.05)
    axes.set_xlabel("own samples trained on afterwards (dashed: the original student)")
    axes.set_title(f"{walked}, and the way back", loc="left", fontsize=10.5)
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
