"""The score: what a benchmark's grader makes of a student's completions.

Several completions of an example count as one value, by the benchmark's `score`. Beside it stand shares that tell why a
score fell: completions that hit the token limit, that hold nothing to grade, and whose grading failed.

Source: the accuracy that the studies which offmodel repeats report; statistics are our choice (docs/statistics.md).
"""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from evaluators.analysis.values import Shares
from orchestrator.measures import POINTS, Column, Evaluation
from orchestrator.stages.evaluate import grades_of
from orchestrator.store.reader import StageReader
from orchestrator.store.stage import Stage
from orchestrator.study.hypotheses import TEACHER, UNTRAINED

TITLE, UNIT = "score", "share"
LEGEND = (
    "p: exact paired test of no change from the untrained student (McNemar's for one seed and one completion, else its "
    "sign-flip form). q: p, corrected for all rows of this table (Benjamini-Hochberg). Detectable change: the smallest "
    "that this test finds in four of five such studies with one seed; several seeds find smaller ones. Truncated: "
    "share of completions that hit the token limit. Unparsed: share without a gradable answer. Requests failed: share "
    "without a completion, which counts as wrong. "
    "Lengths are in tokens. All are means over seeds."
)
SUBJECT, UNTRAINED_MODELS, GROUPED = POINTS, (UNTRAINED, TEACHER), True

MEANS = ("samples", "truncated", "unparsed", "mean_length", "median_length", "p95_length")
COLUMNS = (
    Column(title="completions per example", cell=lambda one: one.diagnostics["samples"], format="{:g}"),
    Column(title="score", cell=lambda one: one.value),
    Column(title="change", cell=lambda one: one.change, format="{:+.3f}"),
    Column(title="p", cell=lambda one: one.p, format="{:.2g}"),
    Column(title="q", cell=lambda one: one.q, format="{:.2g}"),
    Column(title="detectable change", cell=lambda one: one.detectable),
    Column(title="untrained student", cell=lambda one: one.untrained),
    Column(title="teacher", cell=lambda one: one.teacher),
    Column(title="truncated", cell=lambda one: one.diagnostics["truncated"]),
    Column(title="unparsed", cell=lambda one: one.diagnostics["unparsed"]),
    Column(title="grading failed", cell=lambda one: one.diagnostics["grading_failed"]),
    Column(title="requests failed", cell=lambda one: one.diagnostics.get("failed")),
    Column(title="mean length", cell=lambda one: one.diagnostics["mean_length"], format="{:.1f}"),
    Column(title="median length", cell=lambda one: one.diagnostics["median_length"], format="{:.1f}"),
    Column(title="95th percentile", cell=lambda one: one.diagnostics["p95_length"], format="{:.1f}"),
    Column(title="further scores", cell=lambda one: _further(one.diagnostics)),
)


def stages(evaluation: Evaluation) -> tuple[Stage, ...]:
    return (evaluation.stage,)


def values(reader: StageReader, stages: Sequence[Stage], of: str) -> Shares:
    """The scores that an evaluation left, of whichever student it is."""
    graded = reader.read(stages[0], grades_of)
    return Shares(ids=[e.id for e in graded], values=[e.score for e in graded], parts=[e.group for e in graded])


def diagnostics(reader: StageReader, stages_S: Sequence[Sequence[Stage]]) -> dict[str, float]:
    """Means over seeds; `pass@k`, and further scores of the benchmark, under their own names."""
    facts = [reader.facts(stage) for (stage,) in stages_S]
    means = {name: fmean(one[name] for one in facts) for name in MEANS}
    grading_failed = fmean(one["grading_failed"] / (one["n"] * one["samples"]) for one in facts)
    failed = fmean(one.get("failed", 0) / (one["n"] * one["samples"]) for one in facts)
    passes = {f"pass@{k}": fmean(one["pass"][k] for one in facts) for k in facts[0].get("pass", {})}
    figures = {name: fmean(one["figures"][name] for one in facts) for name in facts[0]["figures"]}
    return {**means, "grading_failed": grading_failed, **passes, **figures, **({"failed": failed} if failed else {})}


def metrics(facts: Sequence[dict[str, Any]], untrained: Sequence[dict[str, Any]]) -> dict[str, float]:
    (own,), (before,) = facts, untrained
    found = {
        "": own["accuracy"],
        "change": own["accuracy"] - before["accuracy"],
        "truncated": own["truncated"],
        "unparsed": own["unparsed"],
        "mean length": own["mean_length"],
        **own["figures"],
        **{f"pass@{k}": value for k, value in own.get("pass", {}).items()},
    }
    for name, parts in own["groups"].items():
        found |= {f"{name} {part}": accuracy for part, accuracy in parts.items()}
    return found


def _further(diagnostics: dict[str, float]) -> str:
    known = (*MEANS, "grading_failed", "failed")
    return ", ".join(f"{name} {value:.3f}" for name, value in diagnostics.items() if name not in known)
