"""The hypotheses of a report as Markdown tables: how many of each source have each outcome, and each of them.

python -m orchestrator.results.markdown runs/reports/offmodel-nano/results.json
"""

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from evaluators.analysis.statistics import Interval
from orchestrator.results import hypotheses
from orchestrator.results.model import HypothesisResult

COLUMNS = (
    *("experiment", "source", "hypothesis", "compared", "with", "pair", "expected", "values"),
    *("effect, 95 % interval", "outcome"),
)


def tables(results: Sequence[HypothesisResult]) -> str:
    """Both tables."""
    counts = [
        (source, *(str(count.get(one, 0)) for one in hypotheses.OUTCOMES))
        for source, count in hypotheses.by_source(results).items()
    ]
    return "\n".join([*_table(("source", *hypotheses.OUTCOMES), counts), "", *_table(COLUMNS, map(_row, results))])


def _row(one: HypothesisResult) -> tuple[str, ...]:
    experiment = "" if one.experiment is None else str(one.experiment)
    pair = f"{one.student} / {one.teacher}"
    compared = (hypotheses.comparison(one), one.versus, pair, hypotheses.expectation(one))
    effect = hypotheses.effect(one) if one.effect is not None else ""
    unit = "" if one.metric == "score" or not effect else f" ({hypotheses.unit(one)})"
    return experiment, one.source, one.claim, *compared, hypotheses.both_values(one), f"{effect}{unit}", one.outcome


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [titles, ["---"] * len(titles), *rows]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines]


def _read(one: dict[str, Any]) -> HypothesisResult:
    effect, values = one["effect"], one["values"]
    return HypothesisResult(
        **{
            **one,
            "effect": None if effect is None else Interval(**effect),
            "values": None if values is None else tuple(values),
        }
    )


if __name__ == "__main__":
    print(tables([_read(one) for one in json.loads(Path(sys.argv[1]).read_text())["hypotheses"]]))
