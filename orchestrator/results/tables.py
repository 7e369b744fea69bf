"""The results of a study as tables in a terminal."""

from collections.abc import Iterator, Mapping

from rich.console import Console
from rich.measure import Measurement as Width
from rich.table import Table
from rich.text import Text

from evaluators.analysis.values import Summary
from orchestrator.measures import MEASURES, SCORE, TRAINING_DATA
from orchestrator.results import hypotheses
from orchestrator.results.model import HypothesisResult, Measurement, Point, RecoveryResult, Results, by_point
from orchestrator.study.hypotheses import UNTRAINED
from orchestrator.study.schema import Study

MAX_WIDTH = 1000  # characters of a table
NOT_EVALUATED = "not evaluated"
Line = tuple[list[str], Mapping[str, Summary]]  # the cells that name a line, and its scores by benchmark
LEGEND = "Cells: score | change from the untrained student [its paired 95 % interval]"


def show_results(console: Console, study: Study, results: Results) -> None:
    """Scores by point and benchmark, then lines on all other measures, then the hypotheses."""
    benchmarks = list(study.benchmarks)
    console.print()
    console.print(LEGEND, style="dim", soft_wrap=True, markup=False)
    _print_whole(console, _score_table(results, benchmarks))
    for line in (*_recovery_budgets(results.recovery_budgets), *_other_measures(results)):
        console.print(line, soft_wrap=True, markup=False)
    if results.scores:
        sizes = _sizes(results.scores, benchmarks, study.seeds)
        console.print(sizes, style="dim", soft_wrap=True, markup=False)
    if results.hypotheses:
        _show_hypotheses(console, results.hypotheses)


def _print_whole(console: Console, table: Table) -> None:
    """Print a table at its own width: a terminal that is narrower wraps its lines, and a file holds it whole."""
    width = Width.get(console, console.options.update(max_width=MAX_WIDTH), table).maximum
    Console(highlight=False, width=max(console.width, width), file=console.file).print(table)


def point_columns(points: list[Point]) -> dict[str, list[str]]:
    """The columns of a table that say which point a line is of, with their cells; only those that differ."""
    columns = {"pair": [point.pair for point in points], "condition": [point.condition for point in points]}
    if any(point.step is not None for point in points):
        columns["training step"] = [point.training_step for point in points]
    if any(point.budget for point in points):
        columns["recovery budget"] = [point.recovery_data for point in points]
    return columns


def score_lines(results: Results) -> tuple[list[str], list[Line]]:
    """The table of scores: titles of the columns that name a line, and its lines, those of untrained models first."""
    points = list(by_point(results.scores))
    columns = point_columns([point for point, _ in points])
    lines: list[Line] = []
    for model in dict.fromkeys(one.model for one in results.untrained):
        scores = {one.benchmark: one for one in results.untrained if (one.model, one.measure) == (model, SCORE)}
        lines.append(([model, UNTRAINED, *[""] * (len(columns) - 2)], scores))
    lines += [(list(names), scores) for (_, scores), *names in zip(points, *columns.values(), strict=True)]
    return list(columns), lines


def _score_table(results: Results, benchmarks: list[str]) -> Table:
    titles, lines = score_lines(results)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in (*titles, *benchmarks):
        table.add_column(Text(title), no_wrap=True)
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
    colour = "red" if change.high < 0 else "green" if change.low > 0 else "dim"
    shown = f"{change.value:+.3f} \\[{change.low:+.3f}, {change.high:+.3f}]"
    return f"{one.value.value:.3f} | [{colour}]{shown}[/{colour}]"


def _sizes(scores: list[Measurement], benchmarks: list[str], seeds: list[int]) -> str:
    n = {str(one.benchmark): one.n for one in scores}
    sizes = ", ".join(f"{name} {n[name]}" for name in benchmarks if name in n)
    truncated = max(one.diagnostics["truncated"] for one in scores)
    return (
        f"Examples per seed: {sizes}. Seeds: {', '.join(map(str, seeds))}. "
        f"At most {truncated:.1%} of the completions in a cell were truncated."
    )


def _recovery_budgets(results: list[RecoveryResult]) -> Iterator[str]:
    """A line for each pair, benchmark and share."""
    lines: dict[str, list[str]] = {}
    for one in results:
        head = f"Recovery budget for {100 * one.recovered:g} % of the untrained {one.benchmark} score, {one.pair}"
        budget = f"{one.budget.value} [{one.budget.low}, {one.budget.high}]"
        lines.setdefault(head, []).append(f"{one.condition} {budget} {one.recovery}")
    return (f"{head}: {', '.join(budgets)}" for head, budgets in lines.items())


def _other_measures(results: Results) -> Iterator[str]:
    for name, measurements in results.measurements.items():
        if name != SCORE:
            of_data = MEASURES.module(name).SUBJECT == TRAINING_DATA
            yield from _of_training_data(name, measurements) if of_data else _of_points(name, measurements)


def _of_points(name: str, measurements: list[Measurement]) -> Iterator[str]:
    """A line for each pair and benchmark."""
    measure = MEASURES.module(name)
    lines: dict[str, list[str]] = {}
    for one in measurements:
        beside = "".join(f" ({key.replace('_', ' ')} {value:.2f})" for key, value in one.diagnostics.items())
        head = f"{_capital(measure.TITLE)} on {one.benchmark}, {one.point.pair}{beside}"
        step = f" at step {one.point.step}" if one.point.step is not None else ""
        lines.setdefault(head, []).append(f"{one.point.name}{step} {measure.text(one.value)}")
    return (f"{head}: {', '.join(values)}" for head, values in lines.items())


def _of_training_data(name: str, measurements: list[Measurement]) -> Iterator[str]:
    """A line for each student; data that several conditions or pairs share once, under the first condition."""
    measure = MEASURES.module(name)
    lines: dict[str, dict[str, tuple[str, list[str]]]] = {}
    for one in measurements:
        shared = lines.setdefault(one.point.student, {})
        shared.setdefault(measure.text(one.value), (one.point.condition, []))[1].append(one.point.teacher)
    for student, shared in lines.items():
        values = [
            f"{condition}{f' ({teachers[0]})' if len(set(teachers)) == 1 else ''} {text}"
            for text, (condition, teachers) in shared.items()
        ]
        yield f"{_capital(measure.TITLE)}, {student}: {', '.join(values)}"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _show_hypotheses(console: Console, results: list[HypothesisResult]) -> None:
    """Each claim once, with all comparisons that it rests on."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    titles = ("experiment", "claim", "compared", "pair", "metric", "expected", "effect", "n x seeds", "outcome")
    for title in titles:
        wraps = title in ("claim", "compared", "effect")
        table.add_column(title, no_wrap=not wraps, max_width=44 if wraps else None)
    colours = {hypotheses.SUPPORTED: "green", hypotheses.CONTRADICTED: "red"}
    for group in hypotheses.by_claim(results):
        claim: list[str | Text] = [
            "" if group[0].experiment is None else str(group[0].experiment),
            Text(group[0].claim),
        ]
        for one in group:
            colour = colours.get(one.outcome, "dim")
            table.add_row(
                *claim,
                Text(f"{hypotheses.comparison(one)} versus {one.versus}"),
                Text(f"{one.student} / {one.teacher}"),
                Text(hypotheses.unit(one)),
                Text(hypotheses.expectation(one)),
                Text(hypotheses.effect(one)),
                hypotheses.size(one),
                f"[{colour}]{one.outcome}[/{colour}]",
            )
            claim = ["", ""]
    console.print()
    _print_whole(console, table)
    counts = hypotheses.count(one.outcome for one in results)
    console.print(
        f"[dim]Hypotheses: {counts}, of {len(results)}. Effects have 95 % intervals, not corrected for their number."
        "[/dim]",
        soft_wrap=True,
    )
