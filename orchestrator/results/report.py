"""The report of a study: what its finished trials measured, as a web page, JSON, a table and a figure.

It lies in `<store>/reports/<study name>/` and is written anew each time, from the records of the store.
"""

import csv
import io
import json
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.plan.trial import Plan
from orchestrator.results.hypotheses import evaluate_hypotheses
from orchestrator.results.read import Measured, Row, leading_benchmark, read_results
from orchestrator.store.store import Store
from orchestrator.study.load import without_secrets

PAGE, RESULTS, SCORES, FIGURE = "report.html", "results.json", "scores.csv", "figure.png"


@dataclass(frozen=True, kw_only=True)
class Report:
    """The files of a report, by name, where they lie, and the trials of which they show nothing yet."""

    location: str
    files: dict[str, bytes]
    unfinished: list[str]

    @property
    def paths(self) -> list[str]:
        return [f"{self.location}/{name}" for name in self.files]


def write_report(plan: Plan, store: Store) -> Report:
    """Make the report on all finished trials and put it into the store, in place of an earlier one."""
    from orchestrator.results import figures, html  # They import matplotlib, which no other command needs.

    measured = Measured(store, store.records(plan.stages))
    results = read_results(plan, measured)
    findings = [asdict(one) for one in evaluate_hypotheses(plan, results, measured)]
    files = {
        PAGE: html.render(plan, results, measured, findings).encode(),
        RESULTS: json.dumps({**asdict(results), "findings": findings}, indent=1).encode(),
        SCORES: _scores(results.rows).encode(),
    }
    leading = leading_benchmark(results.rows)
    if leading is not None:
        pair = next((row.student, row.teacher) for row in results.rows if row.benchmark == leading)
        files[FIGURE] = figures.as_png(figures.pair_figure(results, *pair, leading, html.spent(plan.study)))
    folder = f"reports/{plan.study.name}"
    for name, content in files.items():
        store.overwrite(f"{store.root}/{folder}/{name}", content)
    location = f"{without_secrets(plan.study.store).rstrip('/')}/{folder}"
    return Report(location=location, files=files, unfinished=results.unfinished)


def _scores(rows: list[Row]) -> str:
    """A line for each point and benchmark, with the main columns."""
    lines: list[dict[str, Any]] = [
        {
            "student": row.student,
            "teacher": row.teacher,
            "condition": row.condition,
            "recovery": row.recovery,
            "recovery_budget": row.budget,
            "training_step": row.at,
            "benchmark": row.benchmark,
            "n": row.n,
            "seeds": " ".join(map(str, row.seeds)),
            "score": row.score.value,
            "score_low": row.score.low,
            "score_high": row.score.high,
            "untrained": row.original,
            "change": row.change.value,
            "change_low": row.change.low,
            "change_high": row.change.high,
            "p": row.p,
            "q": row.q,
            "truncated": row.diagnostics.truncated,
            "unparsed": row.diagnostics.unparsed,
            "grading_failed": row.diagnostics.grading_failed,
        }
        for row in rows
    ]
    text = io.StringIO()
    if lines:
        table = csv.DictWriter(text, lines[0])
        table.writeheader()
        table.writerows(lines)
    return text.getvalue()
