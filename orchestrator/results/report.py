"""The report of a study: what its finished trials measured, as a web page, JSON, a table and figures.

It lies in `<store>/reports/<study name>/` and is written anew each time, from the records of the store.
"""

import csv
import io
import json
from dataclasses import asdict, dataclass

from evaluators.analysis.statistics import Interval
from evaluators.imports import IMPORTS
from orchestrator.plan.trial import Plan
from orchestrator.results.grids import by_condition
from orchestrator.results.hypotheses import by_source
from orchestrator.results.model import Measurement, Results, leading_benchmark
from orchestrator.results.read import read_results
from orchestrator.store.reader import StageReader
from orchestrator.store.store import Store
from orchestrator.study.load import without_secrets

PAGE, RESULTS, SCORES, FIGURE, GRID = "report.html", "results.json", "scores.csv", "figure.png", "grid.png"


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a report shows, the folder that it lies in, and its files by name."""

    results: Results
    location: str
    files: dict[str, bytes]


def write_report(plan: Plan, store: Store) -> Report:
    """Make the report on all finished trials and put it into the store, in place of an earlier one."""
    with IMPORTS:
        from orchestrator.results import figures, html  # They import matplotlib, which no other command needs.

    reader = StageReader(store, store.records(plan.stages))
    results = read_results(plan, reader)
    counts = {"outcomes_by_source": by_source(results.hypotheses)}
    files = {
        PAGE: html.render(plan, results, reader).encode(),
        RESULTS: json.dumps({"study": plan.study.name, **asdict(results), **counts}, indent=1).encode(),
        SCORES: _table(results.scores).encode(),
    }
    leading = leading_benchmark(results.scores)
    if leading is not None:
        pair = results.pairs(leading)[0]
        drawn = figures.pair_figure(results, *pair, leading, html.budget_units(plan.study), html.prefills(plan.study))
        files[FIGURE] = figures.as_png(drawn)
    of_conditions = by_condition(results.grids)
    if of_conditions:
        files[GRID] = figures.as_png(figures.grid_figure(of_conditions[0]))
    folder = f"reports/{plan.study.name}"
    for name, content in files.items():
        store.overwrite(f"{folder}/{name}", content)
    location = f"{without_secrets(plan.study.store).rstrip('/')}/{folder}"
    return Report(results=results, location=location, files=files)


def _table(scores: list[Measurement]) -> str:
    """Comma-separated values: a row for each point and benchmark."""
    rows = [
        {
            **asdict(one.point),
            "benchmark": one.benchmark,
            "n": one.n,
            "seeds": " ".join(map(str, one.seeds)),
            **_bounds("score", one.value),
            "untrained": one.untrained,
            **_bounds("change", one.change),
            "p": one.p,
            "q": one.q,
            **{name: one.diagnostics[name] for name in ("truncated", "unparsed", "grading_failed")},
        }
        for one in scores
    ]
    text = io.StringIO()
    if rows:
        table = csv.DictWriter(text, rows[0])
        table.writeheader()
        table.writerows(rows)
    return text.getvalue()


def _bounds(name: str, interval: Interval | None) -> dict[str, float]:
    assert interval is not None, "scores have a change"
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
