"""The report as one HTML file that refers to nothing outside it."""

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import jinja2
import yaml

from evaluators.analysis.statistics import Interval
from evaluators.analysis.values import Summary, text_of
from evaluators.engines.generations import Generation
from evaluators.evaluate import Graded
from orchestrator import conditions
from orchestrator.conditions import prefill
from orchestrator.measures import MEASURES, SCORE, TRAINING_DATA, Column
from orchestrator.plan.explain import with_defaults
from orchestrator.plan.points import progress_of
from orchestrator.plan.trial import EvaluationPoint, Plan, Trial
from orchestrator.recoveries import RECOVERIES
from orchestrator.results import grids, hypotheses
from orchestrator.results.figures import as_svg, grid_figure, pair_figure
from orchestrator.results.gaps import off_model_condition
from orchestrator.results.missing import missing_lines, short_lines
from orchestrator.results.model import Measurement, Point, Results, grouped_by, leading_benchmark, point_of
from orchestrator.results.tables import NOT_EVALUATED, point_columns, score_lines
from orchestrator.stages.evaluate import grades_of
from orchestrator.stages.sample import generations_of
from orchestrator.store.reader import StageReader
from orchestrator.store.stage import Stage
from orchestrator.study import provenance
from orchestrator.study.hypotheses import ORIGINS, UNTRAINED
from orchestrator.study.load import without_secrets
from orchestrator.study.schema import Study

SHOWN_PROBLEMS = 3
SHOWN_PAIRS = 12  # with figures and completions; the tables have all pairs
MANY_PARTS = 8  # of a benchmark: a table with more columns starts folded
SIGNIFICANT = 0.05  # of a p-value that is corrected for all scores of the study


Row = tuple[list[str], list[str]]  # the cells that name a row, and its values, as HTML


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table with a title and a legend."""

    title: str
    legend: str = ""
    names: list[str]
    columns: list[str]
    rows: list[Row]
    folded: bool = False

    @property
    def groups(self) -> list[list[Row]]:
        """Neighbouring rows of the same pair; untrained models are a group of their own."""
        return [list(group) for _, group in groupby(self.rows, lambda row: row[0][1] == UNTRAINED or row[0][0])]


def render(plan: Plan, results: Results, reader: StageReader) -> str:
    """The whole page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    study = plan.study
    benchmarks = list(study.benchmarks)
    leading = str(leading_benchmark(results.scores))
    shown = results.pairs(leading)[:SHOWN_PAIRS]
    return environment.get_template("report.html.j2").render(
        study=study,
        trials=len(plan.trials),
        prompts=study.prompts.n or "all",
        results=results,
        missing=list(missing_lines(results)),
        short_budgets=list(short_lines(results)),
        hypotheses=hypotheses,
        origins=ORIGINS,
        headlines=headlines(results),
        grids=[as_svg(grid_figure(each)) for each in grids.by_condition(results.grids)],
        figures=[as_svg(pair_figure(results, *pair, leading, budget_units(study), prefills(study))) for pair in shown],
        left_out=len(results.pairs()) - len(shown),
        tables=[
            _scores(results, benchmarks),
            *_gaps(results, study),
            *_recovery_budgets(results, study),
            *_grids(results),
            *_parts(results, benchmarks),
            *(_measure(name, each) for name, each in results.measurements.items() if each),
        ],
        transcripts=[_transcripts(plan, pair, leading, reader) for pair in shown],
        declared=yaml.safe_dump(_declared(study), sort_keys=False),
        stated=provenance.stated(study.provenance, study.model_dump(exclude_none=True)) if study.provenance else [],
    )


def _declared(study: Study) -> dict[str, Any]:
    declared = with_defaults(study)
    del declared["provenance"]
    declared["store"] = without_secrets(study.store)
    if study.tracking.uri:
        declared["tracking"]["uri"] = without_secrets(study.tracking.uri)
    return declared


def budget_units(study: Study) -> dict[str, str]:
    """What the budgets of each recovery count."""
    return {name: RECOVERIES.module(recovery.kind).SPENT for name, recovery in study.recoveries.items()}


def prefills(study: Study) -> dict[str, str]:
    """How much of the untrained student's completion each condition prefills, in the study's order, after the condition
    of the off-model student, which prefills nothing."""
    found = {}
    for name, condition in study.conditions.items():
        if condition.kind == "prefill":
            options = conditions.options(name, condition)
            assert isinstance(options, prefill.Options)
            if options.from_model == "student":
                found[name] = prefill.amount(options)
    start = off_model_condition(study)
    return {start: "0", **found} if start is not None else found


def headlines(results: Results) -> list[str]:
    """A sentence for each pair and condition, on the benchmark that clearly changed most."""
    sentences = []
    for (pair, condition), group in groupby(results.scores, lambda one: (one.point.pair, one.point.condition)):
        scores = [one for one in group if one.point.step is None]
        before = [one for one in scores if not one.point.budget]
        if not before:  # Only a checkpoint is finished, or a budget.
            continue
        worst = max(before, key=lambda one: (_is_clear(one), abs(_change(one).value)))
        sentence = f"{pair}, {condition}: {_headline(worst)}"
        # Budgets go upwards, so that the last one of a recovery is the largest that all of these seeds have run.
        same_trials = [one for one in scores if (one.benchmark, one.seeds) == (worst.benchmark, worst.seeds)]
        after = [one for one in same_trials if one.point.budget]
        for last in {one.point.recovery: one for one in after}.values():
            sentence += f"; after {last.point.recovery_data} {last.value.value:.3f}"
        sentences.append(sentence + ".")
    return sentences


def _change(one: Measurement) -> Interval:
    assert one.change is not None, "scores have a change"
    return one.change


def _is_clear(one: Measurement) -> bool:
    return not _change(one).low <= 0 <= _change(one).high and one.q is not None and one.q <= SIGNIFICANT


def _headline(one: Measurement) -> str:
    change = text_of(_change(one), "{:+.3f}")
    if not _is_clear(one):
        return f"no benchmark changes clearly (most: {one.benchmark}, {change})"
    verb = "falls" if _change(one).value < 0 else "rises"
    return f"{one.benchmark} {verb} from {one.untrained:.3f} to {one.value.value:.3f} ({change})"


def _scores(results: Results, benchmarks: list[str]) -> Table:
    """The score and its change by point, with two columns for each benchmark."""
    titles, lines = score_lines(results)
    rows = []
    for names, scores in lines:
        missing = ["", "" if names[1] == UNTRAINED else f'<span class="faint">{NOT_EVALUATED}</span>']
        cells = (_score_and_change(scores[name]) if name in scores else missing for name in benchmarks)
        rows.append((names, [cell for pair in cells for cell in pair]))
    return Table(
        title="Scores",
        legend="Change: trained minus untrained student on the same examples, mean over seeds, with a paired 95 % "
        "bootstrap interval over examples and seeds. It is coloured if the interval excludes 0; intervals are not "
        "corrected for the number of cells.",
        names=titles,
        columns=[title for name in benchmarks for title in (name, "change")],
        rows=rows,
    )


def _score_and_change(one: Summary) -> list[str]:
    score, change = f"{one.value.value:.3f}", one.change
    if change is None:
        return [score, ""]
    colour = "loss" if change.high < 0 else "gain" if change.low > 0 else ""
    return [score, f'<span class="{colour}">{change.value:+.3f}</span> {_range(change, "{:+.3f}")}']


def _gaps(results: Results, study: Study) -> Iterator[Table]:
    """The share of the gap that each point closes, with two columns for each benchmark that has a gap."""
    names = [name for name in study.benchmarks if any(one.benchmark == name for one in results.gaps_closed)]
    by_point: dict[Point, dict[str, list[str]]] = {}
    for one in results.gaps_closed:
        cells = [f"{one.score:.3f}", f"{one.closed.value:.2f} {_range(one.closed, '{:.2f}')}"]
        by_point.setdefault(one.point, {})[one.benchmark] = cells
    if by_point:
        columns = point_columns(list(by_point))
        missing = ["", f'<span class="faint">{NOT_EVALUATED}</span>']
        yield Table(
            title="Gap closed",
            legend=f"The share of the gap between the student of {off_model_condition(study)} (0) and the untrained "
            "student (1) that is closed, with its 95 % interval, on benchmarks whose scores off-model SFT lowers.",
            names=list(columns),
            columns=[title for name in names for title in (name, "gap closed")],
            rows=[
                (list(place), [cell for name in names for cell in cells.get(name, missing)])
                for cells, *place in zip(by_point.values(), *columns.values(), strict=True)
            ],
        )


def _recovery_budgets(results: Results, study: Study) -> Iterator[Table]:
    units = budget_units(study)
    rows = []
    for one in results.recovery_budgets:
        if one.budget is None:
            cells = ["none: the untrained score is 0", ""]
        else:
            brackets = [
                f"{seed}: {_or_none(bracket.below)}, {_or_none(bracket.reaches)}"
                for seed, bracket in zip(one.seeds, one.budget.brackets, strict=True)
            ]
            interval = _range_of(html.escape(f"{one.budget.low}, {one.budget.high}"))
            cells = [f"{one.budget.value}{interval}", "; ".join(brackets)]
        target = f"{100 * one.recovered:g} % of {one.benchmark}"
        names = [one.pair, one.condition, one.recovery, units[one.recovery], target]
        rows.append((names, cells))
    if rows:
        yield Table(
            title="Recovery budgets",
            legend="The budget that restores this share of the untrained student's score: the median over seeds, "
            "with a 95 % bootstrap interval over examples and seeds. It is interpolated on a logarithmic axis between "
            "the largest budget of a seed that was too small and the smallest that was enough, on the assumption that "
            'more is not worse. 0: no more than the rest was lost. ">": beyond the budgets that were measured.',
            names=["pair", "condition", "recovery", "budget counts", "restored"],
            columns=["budget", "seed: too small, enough"],
            rows=rows,
        )


def _grids(results: Results) -> Iterator[Table]:
    rows: list[Row] = []
    for one in results.grids:
        sizes = [str(len(one.pairs)), str(one.n), ", ".join(map(str, one.seeds))]
        if one.variance is None:
            found = [grids.shares(one, intervals=False), *[""] * (len(grids.PARTS) + 1)]
        else:
            shares = (getattr(one.variance, name) for name in grids.PARTS)
            cells = [f"{grids.percent(each.value)}{_range_of(grids.bounds(each))}" for each in shares]
            found = [f"{one.variance.sd:.3f}", *cells, grids.percent(one.variance.noise)]
        rows.append(([one.condition, one.benchmark], [*sizes, *found]))
    if rows:
        yield Table(
            title=f"{grids.TITLE}: shares of the variance",
            legend="The variance of the change over the pairs is the sum of four parts: effects of the student, of the "
            "teacher and of their pairing (interaction), and noise of seeds and examples. Intervals: 95 %, for these "
            "students and teachers. Students with one teacher and teachers with one student are left out.",
            names=["condition", "benchmark"],
            columns=["pairs", "n", "seeds", "standard deviation", *grids.PARTS, "noise"],
            rows=rows,
        )


def _parts(results: Results, benchmarks: list[str]) -> Iterator[Table]:
    """The mean of a measure by level, subject and other parts of a benchmark."""
    for measure, measurements in results.measurements.items():
        for benchmark in benchmarks:
            for group in grouped_by(measurements, benchmark):
                of_benchmark = [one for one in measurements if one.benchmark == benchmark]
                yield _by_part(f"{MEASURES.module(measure).TITLE} on {benchmark} by {group}", of_benchmark, group)


def _by_part(title: str, measurements: Sequence[Measurement], group: str) -> Table:
    columns = point_columns([one.point for one in measurements])
    parts = list(measurements[0].untrained_groups[group])
    lines = [
        ([student, UNTRAINED, *[""] * (len(columns) - 2)], groups)
        for student, groups in {one.point.student: one.untrained_groups for one in measurements}.items()
    ]
    lines += [(list(names), one.groups) for one, *names in zip(measurements, *columns.values(), strict=True)]
    rows = [(names, [f"{groups[group][part]:.2f}" for part in parts]) for names, groups in lines]
    return Table(
        title=title,
        names=list(columns),
        columns=[f"{group} {part}" if part.isdigit() else part for part in parts],
        rows=rows,
        folded=len(parts) > MANY_PARTS,
    )


def _measure(name: str, measurements: Sequence[Measurement]) -> Table:
    """A table with all columns of a measure."""
    measure = MEASURES.module(name)
    names = point_columns([one.point for one in measurements])
    if any(one.benchmark for one in measurements):
        names["benchmark"] = [str(one.benchmark) for one in measurements]
    has_seeds = measure.SUBJECT != TRAINING_DATA
    columns = [column for column in measure.COLUMNS if any(_cell(column, one) for one in measurements)]
    rows: list[Row] = []
    for one, *place in zip(measurements, *names.values(), strict=True):
        sizes = [str(one.n), *([", ".join(map(str, one.seeds))] if has_seeds else [])]
        rows.append((list(place), [*sizes, *(_cell(column, one) for column in columns)]))
    return Table(
        title=f"{measure.TITLE} ({measure.UNIT}): all numbers",
        legend=measure.LEGEND,
        names=list(names),
        columns=["n", *(["seeds"] if has_seeds else []), *(column.title for column in columns)],
        rows=rows,
        folded=name == SCORE,  # The first table has what matters most of it.
    )


def _cell(column: Column, one: Measurement) -> str:
    value = column.cell(one)
    if isinstance(value, Interval):
        return f"{column.format.format(value.value)}{_range(value, column.format)}"
    if value is None:
        return ""
    return html.escape(value) if isinstance(value, str) else column.format.format(value)


def _or_none(value: int | None) -> str:
    return "none" if value is None else str(value)


def _range(interval: Interval, format: str) -> str:
    return _range_of(f"{format}, {format}".format(interval.low, interval.high))


def _range_of(bounds: str) -> str:
    return f'<span class="range">[{bounds}]</span>'


def _transcripts(plan: Plan, pair: tuple[str, str], benchmark: str, reader: StageReader) -> dict[str, Any]:
    """Examples that the untrained student solves and the first trained student does not, with all completions."""
    finished = []
    for trial in (trial for trial in plan.trials if trial.pair == pair):
        points = progress_of(trial, plan.study, reader.records).finished
        if points := [point for point in points if benchmark in point.scores]:
            finished.append((trial, points))
    voices = _voices([one for one in finished if one[0].seed == finished[0][0].seed], benchmark, reader)
    before, after = (reader.read(stage, grades_of) for stage in list(voices.values())[:2])
    lost = [i for i in range(len(before)) if before[i].score > after[i].score] or list(range(len(before)))
    untrained = next(iter(voices.values()))
    cases = [
        {
            "prompt": _graded(reader, untrained, i)[1].prompt[-1]["content"],
            "completions": [{"who": who, **_completion(reader, stage, i)} for who, stage in voices.items()],
        }
        for i in lost[-SHOWN_PROBLEMS:]
    ]
    return {"title": f"{pair[0]} / {pair[1]}, {benchmark}", "cases": cases}


def _voices(
    finished: Sequence[tuple[Trial, list[EvaluationPoint]]], benchmark: str, reader: StageReader
) -> dict[str, Stage]:
    """The evaluations to show: the untrained student, each condition before and after all recovery (of a training that
    is not finished, its checkpoints), the teacher."""
    first = finished[0][0]
    voices = {"untrained student": first.untrained_scores[benchmark]}
    for trial, points in finished:
        run = [point for point in points if point.step is None] or points
        for point in run[:: max(1, len(run) - 1)]:
            voices[point_of(trial, point).title] = point.scores[benchmark]
    teacher = first.teacher_scores.get(benchmark)
    if teacher in reader.records:
        voices["teacher"] = teacher
    return voices


def _completion(reader: StageReader, evaluation: Stage, i: int) -> dict[str, Any]:
    """The first completion of an example, and its grade."""
    graded, generation = _graded(reader, evaluation, i)
    verdict = graded.verdicts[0]
    return {"text": generation.completions[0].text, "correct": verdict.correct, "note": verdict.note}


def _graded(reader: StageReader, evaluation: Stage, i: int) -> tuple[Graded, Generation]:
    """The grade at a place and its generation; generations of skipped examples have no grade."""
    graded = reader.read(evaluation, grades_of)[i]
    generations = reader.read(evaluation.inputs["generations"], generations_of)
    return graded, next(one for one in generations if one.id == graded.id)
