"""The report as one HTML file with no outside resources."""

import math
from itertools import groupby
from pathlib import Path
from typing import Any

import jinja2
import yaml

from evaluators.analysis.style import DISTINCT
from orchestrator.plan.trial import EvaluationPoint, Plan
from orchestrator.recoveries import RECOVERIES
from orchestrator.results import hypotheses
from orchestrator.results.figures import as_svg, pair_figure
from orchestrator.results.read import Measured, Results, Row, leading_benchmark, ways_to_part, when
from orchestrator.store.stage import Stage
from orchestrator.study import provenance
from orchestrator.study.load import without_secrets
from orchestrator.study.schema import Study

SHOWN_PROBLEMS = 3
SHOWN_PAIRS = 12  # with figures and answers; the tables have them all
SIGNIFICANT = 0.05  # of a p-value that is corrected for all cells of the study
AS_THEY_ARE = "models as they are"


def render(plan: Plan, results: Results, measured: Measured, findings: list[dict]) -> str:
    """The whole page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    study = plan.study
    benchmarks = list(study.benchmarks)
    leading = leading_benchmark(results.rows)
    asked = {(row.student, row.teacher) for row in results.rows if row.benchmark == leading}
    shown = [pair for pair in pairs_of(results) if pair in asked][:SHOWN_PAIRS]
    return environment.get_template("report.html.j2").render(
        study=study,
        trials=len(plan.trials),
        pairs=len(study.pair_list),
        prompts=study.prompts.n or "all",
        results=results,
        headlines=headlines(results),
        findings=findings,
        hypotheses=hypotheses,
        clear=DISTINCT,
        when=when,
        spent=spent(study),
        figures=[as_svg(pair_figure(results, *pair, str(leading), spent(study))) for pair in shown],
        left_out=len(pairs_of(results)) - len(shown),
        benchmarks=benchmarks,
        table=[list(lines) for _, lines in groupby(table_lines(results, benchmarks), lambda line: line["pair"])],
        parts=[_parts(results, name, group) for name in benchmarks for group in ways_to_part(results.rows, name)],
        transcripts=[_transcripts(plan, results, pair, str(leading), measured) for pair in shown],
        further=[row for row in results.rows if row.diagnostics.figures],
        exp=math.exp,
        declared=yaml.safe_dump(_shown(study), sort_keys=False),
        stated=provenance.stated(study.provenance, study.model_dump(exclude_none=True)) if study.provenance else [],
    )


def _shown(study: Study) -> dict[str, Any]:
    declared = study.model_dump(exclude_none=True, exclude={"provenance"})
    declared["store"] = without_secrets(study.store)
    if study.tracking.uri:
        declared["tracking"]["uri"] = without_secrets(study.tracking.uri)
    return declared


def pairs_of(results: Results) -> list[tuple[str, str]]:
    return list(dict.fromkeys((row.student, row.teacher) for row in results.rows))


def table_lines(results: Results, benchmarks: list[str]) -> list[dict[str, Any]]:
    """One line for each model as it is, then for each pair, condition and budget; cells in the benchmarks' order."""
    lines = []
    for model in dict.fromkeys(reference.model for reference in results.references):
        cells = {r.benchmark: {"score": r.score, "change": None} for r in results.references if r.model == model}
        lines.append(_line(AS_THEY_ARE, model, "", cells, benchmarks))
    for key, rows in groupby(results.rows, _key):
        lines.append(_line(*key, {r.benchmark: {"score": r.score, "change": r.change} for r in rows}, benchmarks))
    return lines


def spent(study: Study) -> dict[str, str]:
    """What the budgets of each recovery count."""
    return {name: RECOVERIES.module(recovery.kind).SPENT for name, recovery in study.recoveries.items()}


def _key(row: Row) -> tuple[str, str, str]:
    return f"{row.student} / {row.teacher}", row.condition, when(row.recovery, row.budget, row.at)


def _line(pair: str, condition: str, budget: Any, cells: dict, benchmarks: list[str]) -> dict[str, Any]:
    return {"pair": pair, "condition": condition, "budget": budget, "cells": [cells.get(name) for name in benchmarks]}


def headlines(results: Results) -> list[str]:
    """A sentence for each pair and condition, on the benchmark that clearly changed most."""
    said = []
    for (pair, condition), group in groupby(results.rows, lambda row: _key(row)[:2]):
        rows = [row for row in group if row.at is None]
        before = [row for row in rows if not row.budget]
        worst = max(before, key=lambda row: (_is_clear(row), abs(row.change.value)))
        sentence = f"{pair}, {condition}: {_told(worst)}"
        # Budgets go upwards, so that the last row of a recovery is of the largest that all of these seeds have seen.
        alike = [row for row in rows if row.budget and (row.benchmark, row.seeds) == (worst.benchmark, worst.seeds)]
        for after in {row.recovery: row for row in alike}.values():
            sentence += f"; after {when(after.recovery, after.budget, None)} {after.score.value:.3f}"
        said.append(sentence + ".")
    return said


def _is_clear(row: Row) -> bool:
    return not row.change.low <= 0 <= row.change.high and row.q <= SIGNIFICANT


def _told(row: Row) -> str:
    change = row.change
    interval = f"{change.value:+.3f} [{change.low:+.3f}, {change.high:+.3f}]"
    if not _is_clear(row):
        return f"no benchmark changes clearly (most: {row.benchmark}, {interval})"
    verb = "falls" if change.value < 0 else "rises"
    return f"{row.benchmark} {verb} from {row.original:.3f} to {row.score.value:.3f} ({interval})"


def _parts(results: Results, name: str, group: str) -> dict[str, Any]:
    rows = [row for row in results.rows if row.benchmark == name]
    parts = list(rows[0].original_groups[group])
    originals = {row.student: row.original_groups[group] for row in rows}
    lines: list[dict[str, Any]] = [
        {"pair": AS_THEY_ARE, "condition": student, "budget": "", "accuracies": list(values.values())}
        for student, values in originals.items()
    ]
    for row in rows:
        pair, condition, budget = _key(row)
        accuracies = list(row.groups[group].values())
        lines.append({"pair": pair, "condition": condition, "budget": budget, "accuracies": accuracies})
    order = list(dict.fromkeys(line["pair"] for line in lines))
    return {
        "title": f"{name} by {group}",
        "parts": [f"{group} {part}" if part.isdigit() else part for part in parts],
        "groups": [[line for line in lines if line["pair"] == pair] for pair in order],
    }


def _transcripts(
    plan: Plan, results: Results, pair: tuple[str, str], benchmark: str, measured: Measured
) -> dict[str, Any]:
    """Problems that the original student had right and the first shown student has wrong, by every student."""
    finished = [
        trial
        for trial in plan.trials
        if (trial.student, trial.teacher) == pair
        and trial.key not in results.unfinished
        and benchmark in trial.steps[0].scores
    ]
    first = [trial for trial in finished if trial.seed == finished[0].seed]
    voices = {"original student": first[0].original[benchmark]}
    for trial in first:
        asked = [step for step in trial.steps if step.scores[benchmark] in measured.records]
        ended = [step for step in asked if step.at is None]
        for step in ended[:: max(1, len(ended) - 1)]:  # before any recovery, and after all of it
            voices[_who(trial.condition, step)] = step.scores[benchmark]
    if first[0].teacher_scores[benchmark] in measured.records:
        voices["teacher"] = first[0].teacher_scores[benchmark]
    before, after = (measured.grades(stage) for stage in list(voices.values())[:2])
    hurt = [i for i in range(len(before)) if before[i].score > after[i].score] or list(range(len(before)))
    prompts = measured.generations(voices["original student"])
    cases = [
        {
            "prompt": prompts[i].prompt[-1]["content"],
            "said": [{"who": who, **_said(measured, stage, i)} for who, stage in voices.items()],
        }
        for i in hurt[-SHOWN_PROBLEMS:]
    ]
    return {"title": f"{pair[0]} / {pair[1]}, {benchmark}", "cases": cases}


def _who(condition: str, step: EvaluationPoint) -> str:
    return f"{condition}, then {when(step.recovery, step.budget, None)}" if step.budget else condition


def _said(measured: Measured, stage: Stage, i: int) -> dict[str, Any]:
    """The first answer to an example, and whether it is right."""
    verdict = measured.grades(stage)[i].verdicts[0]
    return {
        "text": measured.generations(stage)[i].completions[0].text,
        "correct": verdict.correct,
        "note": verdict.note,
    }
