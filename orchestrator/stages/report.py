"""The stage `report`: every finished trial's results as figures, and as one HTML file."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from orchestrator.stage import Stage
from orchestrator.work import Work

VERSION = 1
RESULTS, PAGE, PICTURE = "results.json", "report.html", "picture.png"


def stage(study: Any, evaluations: Iterable[Stage]) -> Stage:
    """The report on these evaluations."""
    return Stage(
        "report",
        VERSION,
        study.name,
        {"name": study.name},
        {evaluation.address: evaluation for evaluation in evaluations},
        {"study": study.model_dump_json()},
    )


def run(work: Work) -> dict[str, Any]:
    from orchestrator import figures, page
    from orchestrator.plan import unfold
    from orchestrator.results import Examples, read_results
    from orchestrator.study import Study

    plan = unfold(Study.model_validate_json(work.stage.runtime["study"]))
    records = work.store.records(plan.stages)
    examples = Examples(work.store, records)
    results = read_results(plan, records, examples)
    (work.out / RESULTS).write_text(json.dumps(asdict(results), indent=1))
    (work.out / PAGE).write_text(page.render(plan, results, examples))
    leading = page.leading_benchmark(results)
    if leading is not None:
        drawn = figures.pair_figure(results, *page.pairs_of(results)[0], leading)
        (work.out / PICTURE).write_bytes(figures.as_png(drawn))
    return {"rows": len(results.rows), "unfinished": results.unfinished}
