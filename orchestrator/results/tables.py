"""The results of a study as tables in a terminal."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

from rich.console import Console
from rich.measure import Measurement as Width
from rich.table import Column, Table
from rich.text import Text

from evaluators.analysis.statistics import Interval
from evaluators.analysis.values import Summary, text_of
from orchestrator.measures import MEASURES, SCORE, TRAINING_DATA
from orchestrator.plan.files import skipped_text
from orchestrator.results import grids, hypotheses
from orchestrator.results.missing import missing_lines, short_lines
from orchestrator.results.model import (
    GridResult,
    HypothesisResult,
    Measurement,
    Point,
    RecoveryResult,
    Results,
    UntrainedModel,
    leading_benchmark,
)
from orchestrator.study.hypotheses import UNTRAINED
from orchestrator.study.schema import Study

MAX_WIDTH = 1000  # characters of a table
NOT_EVALUATED = "not evaluated"
Line = tuple[list[str], Mapping[str, Summary]]  # the cells that name a line, and its scores by benchmark
LEGEND = "Cells: score | change from the untrained student [its paired 95 % interval]"


def show_results(console: Console, study: Study, results: Results) -> None:
    """Scores by point and benchmark, then lines on all other measures, changes by student and teacher, hypotheses."""
    benchmarks = list(study.benchmarks)
    console.print()
    console.print(LEGEND, style="dim", soft_wrap=True, markup=False)
    _print_whole(console, _score_table(results, benchmarks))
    lines = chain(
        _joined(_recovery_budgets(results.recovery_budgets)), _joined(_gaps(results)), _other_measures(results)
    )
    for line in lines:
        console.print(line, soft_wrap=True, markup=False)
    if results.scores:
        console.print(_sizes(results, benchmarks, study.seeds), style="dim", soft_wrap=True, markup=False)
    for grid in results.grids:
        _show_grid(console, grid)
    if results.hypotheses:
        _show_hypotheses(console, results.hypotheses)
    for line in (*(f"missing: {one}" for one in missing_lines(results)), *short_lines(results)):
        console.print(line, style="yellow", soft_wrap=True, markup=False)
    for one in results.skipped:
        console.print(
            f"{one.benchmark}: {skipped_text(one.examples, one.n)}", style="dim", soft_wrap=True, markup=False
        )
    for warning in results.warnings:
        console.print(f"warning: {warning}", style="yellow", soft_wrap=True, markup=False)


def _print_whole(console: Console, table: Table) -> None:
    """Print a table at its own width: a terminal that is narrower wraps its lines, and a file holds it whole."""
    width = Width.get(console, console.options.update(max_width=MAX_WIDTH), table).maximum
    Console(highlight=False, width=max(console.width, width), file=console.file).print(table)


def point_columns(points: list[Point]) -> dict[str, list[str]]:
    """The columns of a table that say which point a line is of, with their cells; only those that differ."""
    columns = {"pair": [point.pair for point in points], "condition": [point.condition for point in points]}
    if any(point.step is not None for point in points):
        columns["training step"] = ["end" if point.step is None else str(point.step) for point in points]
    if any(point.budget for point in points):
        columns["recovery budget"] = [point.recovery_data for point in points]
    return columns


def score_lines(results: Results) -> tuple[list[str], list[Line]]:
    """The table of scores: titles of the columns that name a line, and its lines, those of untrained models first."""
    points: dict[Point, dict[str, Summary]] = {}
    for one in results.scores:
        points.setdefault(one.point, {})[str(one.benchmark)] = one
    columns = point_columns(list(points))
    lines: list[Line] = []
    for model in dict.fromkeys(one.model for one in results.untrained):
        of_model = [one for one in results.untrained if (one.model, one.measure) == (model, SCORE)]
        scores: dict[str, Summary] = {one.benchmark: one for one in of_model}
        lines.append(([model, UNTRAINED, *[""] * (len(columns) - 2)], scores))
    lines += [(list(names), scores) for scores, *names in zip(points.values(), *columns.values(), strict=True)]
    return list(columns), lines


def _score_table(results: Results, benchmarks: list[str]) -> Table:
    titles, lines = score_lines(results)
    columns = [Column(Text(title), no_wrap=True) for title in (*titles, *benchmarks)]
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    last = None
    for names, scores in lines:
        if names[0] != last and names[1] != UNTRAINED:
            table.add_section()
            last = names[0]
        missing = "" if names[1] == UNTRAINED else f"[dim]{NOT_EVALUATED}[/dim]"
        table.add_row(*map(Text, names), *(_cell(scores[name]) if name in scores else missing for name in benchmarks))
    return table


def _cell(one: Summary) -> str:
    if one.change is None:
        return f"{one.value.value:.3f}"
    change = one.change
    shown = f"{change.value:+.3f} \\[{change.low:+.3f}, {change.high:+.3f}]"
    return f"{one.value.value:.3f} | {_coloured(shown, change)}"


def _coloured(text: str, change: Interval) -> str:
    colour = "red" if change.high < 0 else "green" if change.low > 0 else "dim"
    return f"[{colour}]{text}[/{colour}]"


def _sizes(results: Results, benchmarks: list[str], seeds: list[int]) -> str:
    n = {str(one.benchmark): one.n for one in results.scores}
    sizes = ", ".join(f"{name} {n[name]}" for name in benchmarks if name in n)
    truncated = max(one.diagnostics["truncated"] for one in results.scores)
    measured: list[Measurement | UntrainedModel] = [*results.scores, *results.untrained]
    failed = max(one.diagnostics.get("failed", 0.0) for one in measured)
    return (
        f"Examples per seed: {sizes}. Seeds: {', '.join(map(str, seeds))}. "
        f"At most {truncated:.1%} of the completions in a cell were truncated."
        + (f" At most {failed:.1%} of a model's requests failed, and count as wrong." if failed else "")
    )


def _joined(values: Iterable[tuple[str, str]]) -> Iterator[str]:
    """A line for each head, with all its values."""
    lines: dict[str, list[str]] = {}
    for head, value in values:
        lines.setdefault(head, []).append(value)
    return (f"{head}: {', '.join(each)}" for head, each in lines.items())


def _recovery_budgets(results: list[RecoveryResult]) -> Iterator[tuple[str, str]]:
    """A head for each pair, benchmark and share."""
    for one in results:
        head = f"Recovery budget for {100 * one.recovered:g} % of the untrained {one.benchmark} score, {one.pair}"
        budget = one.budget
        if budget is None:
            yield head, f"{one.condition}, then {one.recovery}, has none, since that score is 0"
        else:
            yield head, f"{one.condition} {budget.value} [{budget.low}, {budget.high}] {one.recovery}"


def _gaps(results: Results) -> Iterator[tuple[str, str]]:
    """A head for each pair, on the benchmark that figures show."""
    leading = leading_benchmark(results.scores)
    for one in results.gaps_closed:
        if one.benchmark == leading:
            scores = f"0: off-model {one.off_model:.3f}, 1: untrained {one.untrained:.3f}"
            head = f"Gap closed on {one.benchmark}, {one.point.pair} ({scores})"
            yield head, f"{one.point.title} {text_of(one.closed, '{:.2f}')}"


def _other_measures(results: Results) -> Iterator[str]:
    for name, measurements in results.measurements.items():
        if name != SCORE:
            of_data = MEASURES.module(name).SUBJECT == TRAINING_DATA
            yield from _joined((_of_training_data if of_data else _of_points)(name, measurements))


def _of_points(name: str, measurements: list[Measurement]) -> Iterator[tuple[str, str]]:
    """A head for each pair and benchmark; for each pair of a measure of students."""
    measure = MEASURES.module(name)
    for one in measurements:
        beside = _beside(one) if one.benchmark is not None else ""
        where = f" on {one.benchmark}" if one.benchmark is not None else ""
        head = f"{_capital(measure.TITLE)}{where}, {one.point.pair}{beside}"
        yield head, f"{one.point.title} {measure.text(one.value)}"


def _of_training_data(name: str, measurements: list[Measurement]) -> Iterator[tuple[str, str]]:
    """A head for each student; data that several conditions or pairs share once, under the first condition."""
    measure = MEASURES.module(name)
    shared: dict[tuple[str, str], list[Point]] = {}
    for one in measurements:
        shared.setdefault((one.point.student, f"{measure.text(one.value)}{_beside(one)}"), []).append(one.point)
    for (student, text), points in shared.items():
        teachers = {point.teacher for point in points}
        teacher = f" ({points[0].teacher})" if len(teachers) == 1 else ""
        yield f"{_capital(measure.TITLE)}, {student}", f"{points[0].condition}{teacher} {text}"


def _beside(one: Measurement) -> str:
    """What is measured beside a value: ` (classifier accuracy 0.98)`."""
    return "".join(f" ({name.replace('_', ' ')} {value:.2f})" for name, value in one.diagnostics.items())


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _show_grid(console: Console, grid: GridResult) -> None:
    """A row for each student and a column for each teacher."""
    columns = [Column(Text("student"), no_wrap=True)]
    columns += [Column(Text(teacher), no_wrap=True, justify="right") for teacher in grid.teachers]
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for student, changes in zip(grid.students, grid.changes, strict=True):
        cells = ("" if change is None else _coloured(f"{change.value:+.3f}", change) for change in changes)
        table.add_row(Text(student), *cells)
    console.print()
    console.print(f"{grids.TITLE}: {grid.condition} on {grid.benchmark}", soft_wrap=True, markup=False)
    _print_whole(console, table)
    console.print(f"Variance: {grids.shares(grid, intervals=True)}", style="dim", soft_wrap=True, markup=False)


def _show_hypotheses(console: Console, results: list[HypothesisResult]) -> None:
    """Each claim once, with all comparisons that it rests on."""
    columns = [
        Column(title, max_width=44) if title in ("claim", "compared", "effect") else Column(title, no_wrap=True)
        for title in (
            *("experiment", "source", "claim", "compared", "pair", "metric", "values", "expected", "effect"),
            *("n x seeds", "outcome"),
        )
    ]
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    colours = {hypotheses.SUPPORTED: "green", hypotheses.CONTRADICTED: "red"}
    for group in hypotheses.by_claim(results):
        claim: list[str | Text] = [
            "" if group[0].experiment is None else str(group[0].experiment),
            group[0].source,
            Text(group[0].claim),
        ]
        for one in group:
            colour = colours.get(one.outcome, "dim")
            table.add_row(
                *claim,
                Text(f"{hypotheses.comparison(one)} versus {one.versus}"),
                Text(f"{one.student} / {one.teacher}"),
                Text(hypotheses.unit(one)),
                hypotheses.both_values(one),
                Text(hypotheses.expectation(one)),
                Text(hypotheses.effect(one)),
                hypotheses.size(one),
                f"[{colour}]{one.outcome}[/{colour}]",
            )
            claim = ["", "", ""]
    console.print()
    _print_whole(console, table)
    console.print(
        f"[dim]{len(results)} hypotheses by source: {hypotheses.by_source_in_words(results)}. Effects have 95 % "
        "intervals, not corrected for their number.[/dim]",
        soft_wrap=True,
    )
