"""The stage `report`: every finished trial's results as figures, and as one HTML file."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from orchestrator.store.context import StageContext
from orchestrator.store.stage import Stage
from orchestrator.study.schema import Study

VERSION = 5
RESULTS, PAGE, PICTURE = "results.json", "report.html", "picture.png"


def stage(study: Study, measured: Iterable[Stage], unfinished: list[str]) -> Stage:
    """The report on what was measured, under the names that the study gives to things."""
    shown = {
        "name": study.name,
        "pairs": [[pair.student, pair.teacher] for pair in study.pair_list],
        "conditions": list(study.conditions),
        "recoveries": {name: recovery.model_dump(include={"search"}) for name, recovery in study.recoveries.items()},
        "benchmarks": list(study.benchmarks),
        "seeds": study.seeds,
        "unfinished": unfinished,
        "findings": [finding.model_dump() for finding in study.hypotheses],
        "provenance": study.provenance,
    }
    inputs = {one.address: one for one in measured}
    return Stage("report", VERSION, study.name, shown, inputs, {"study": study.model_dump_json()})


def run(work: StageContext) -> dict[str, Any]:
    from orchestrator.plan.build import build_plan
    from orchestrator.results import figures, html
    from orchestrator.results.hypotheses import evaluate_hypotheses
    from orchestrator.results.read import Measured, leading_benchmark, read_results

    plan = build_plan(Study.model_validate_json(work.stage.runtime["study"]))
    measured = Measured(work.store, work.store.records(plan.stages))
    results = read_results(plan, measured)
    findings = [asdict(one) for one in evaluate_hypotheses(plan, results, measured)]
    (work.out / RESULTS).write_text(json.dumps({**asdict(results), "findings": findings}, indent=1))
    (work.out / PAGE).write_text(html.render(plan, results, measured, findings))
    leading = leading_benchmark(results.rows)
    if leading is not None:
        pair = next((row.student, row.teacher) for row in results.rows if row.benchmark == leading)
        drawn = figures.pair_figure(results, *pair, leading, html.spent(plan.study))
        (work.out / PICTURE).write_bytes(figures.as_png(drawn))
    return {"rows": len(results.rows), "unfinished": results.unfinished}
