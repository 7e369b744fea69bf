"""A study's results, read from its records: one row for each pair, condition, point of a trial and benchmark."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from evaluators.analysis.logprobs import CompletionLogprobs, divergence, mean_nll, parts_of, pooled
from evaluators.analysis.statistics import Interval, corrected, mcnemar, mean_score, paired_change, smallest_effect
from evaluators.analysis.style import DISTINCT, StyleShares, accuracy
from evaluators.engines.generations import Generation
from evaluators.evaluate import Graded, by_group
from orchestrator.plan.points import completed_points
from orchestrator.plan.trial import EvaluationPoint, Plan, Trial
from orchestrator.results.recovery_budgets import RecoveryResult, recovery_budgets
from orchestrator.stages.evaluate import grades_of
from orchestrator.stages.logprobs import likelihoods_of
from orchestrator.stages.sample import answers_of
from orchestrator.stages.style import shares_of
from orchestrator.store.stage import Stage
from orchestrator.store.store import Store

Groups = dict[str, dict[str, float]]  # accuracy by part of the benchmark: {"level": {"1": 0.9, ...}}


def when(recovery: str, budget: int, at: int | None) -> str:
    """A point of a trial, as tables show it: the budget, of which recovery, or the step of the first training."""
    return f"{budget} {recovery}".rstrip() if at is None else f"step {at}"


@dataclass(frozen=True)
class Diagnostics:
    """Beside every score, since they tell why one fell: shares of answers that were cut off, that held nothing to
    grade, and of which the grading was given up; lengths in tokens; further scores of the benchmark. All are means over
    seeds."""

    samples: float
    truncated: float
    unparsed: float
    grading_failed: float
    mean_length: float
    median_length: float
    p95_length: float
    figures: dict[str, float]


@dataclass(frozen=True)
class Row:
    """A score over all seeds and examples, and its change from the original student on the same examples.

    It is of the student after a budget of a recovery ("" and 0: none), or, before that, `at` a step of its first
    training. `p` is of the exact paired test, `q` the same corrected for all rows of the study; `detectable` is the
    smallest change that such a test would find in four of five studies like this one, None where it could find none,
    and where scores are no single verdicts.
    """

    student: str
    teacher: str
    condition: str
    recovery: str
    budget: int
    at: int | None
    benchmark: str
    n: int
    seeds: list[int]
    score: Interval
    change: Interval
    p: float
    q: float
    detectable: float | None
    original: float
    teacher_score: float
    diagnostics: Diagnostics
    groups: Groups
    original_groups: Groups


@dataclass(frozen=True)
class Reference:
    """A model of the study as it is, on one benchmark."""

    model: str
    benchmark: str
    n: int
    score: Interval
    diagnostics: Diagnostics
    groups: Groups


@dataclass(frozen=True)
class TrainingPerplexity:
    """How likely the original student finds what a condition trains it on: nats a token, by class of token."""

    student: str
    teacher: str
    condition: str
    n: int
    nll: dict[str, Interval]


@dataclass(frozen=True)
class Divergence:
    """KL(student || original) on `n` prompts of a benchmark: nats a token, by class of token, over all seeds."""

    student: str
    teacher: str
    condition: str
    recovery: str
    budget: int
    at: int | None
    benchmark: str
    n: int
    seeds: list[int]
    kl: dict[str, Interval]


@dataclass(frozen=True)
class Style:
    """The share of a student's answers to a benchmark that read like the teacher's, over all seeds; beside it that of
    the original student's and of the teacher's own. `accuracy` is how often the probe tells these two apart on examples
    that it has not seen, and `clear` whether that is often enough for a share to mean something."""

    student: str
    teacher: str
    condition: str
    recovery: str
    budget: int
    at: int | None
    benchmark: str
    n: int
    seeds: list[int]
    share: Interval
    original: float
    teacher_share: float
    accuracy: float
    clear: bool


@dataclass(frozen=True)
class Results:
    """All that could be read; `unfinished` names the trials that could not."""

    rows: list[Row]
    references: list[Reference]
    training_perplexities: list[TrainingPerplexity]
    divergences: list[Divergence]
    recovery_budgets: list[RecoveryResult]
    unfinished: list[str]
    styles: list[Style] = field(default_factory=list)


def read_results(plan: Plan, measured: "Measured") -> Results:
    """The results of all finished trials, in the order in which the study names pairs, conditions and benchmarks."""
    # By seed: recoveries of the same student have what comes before them in common.
    cells: dict[tuple, dict[int, tuple[Trial, Stage]]] = defaultdict(dict)
    drawn: dict[tuple, dict[int, tuple[Trial, tuple[Stage, Stage]]]] = defaultdict(dict)
    worded: dict[tuple, dict[int, tuple[Trial, Stage]]] = defaultdict(dict)
    walks: list[tuple[Trial, list[EvaluationPoint]]] = []
    training_perplexities: dict[tuple, Stage] = {}
    unfinished = []
    for trial in plan.trials:
        walked = completed_points(trial, plan.study, measured.records)
        if walked is None:
            unfinished.append(trial.key)
            continue
        walks.append((trial, walked))
        if trial.training_nll is not None:
            training_perplexities[trial.student, trial.teacher, trial.condition] = trial.training_nll
        for step in walked:
            place = (trial.student, trial.teacher, trial.condition, step.recovery, step.budget, step.at)
            for benchmark, stage in step.scores.items():
                cells[*place, benchmark][trial.seed] = (trial, stage)
            for benchmark, both in step.divergence.items():
                drawn[*place, benchmark][trial.seed] = (trial, both)
            for benchmark, stage in step.style.items():
                worded[*place, benchmark][trial.seed] = (trial, stage)
    pairs = [(pair.student, pair.teacher) for pair in plan.study.pair_list]
    names, benchmarks = list(plan.study.conditions), list(plan.study.benchmarks)
    recoveries = ["", *plan.study.recoveries]

    def place_of(key: tuple) -> tuple:
        *_, condition, recovery, budget, at, benchmark = key
        when = (recoveries.index(recovery), budget, math.inf if at is None else at)
        return (pairs.index(key[:2]), names.index(condition), when, benchmarks.index(benchmark))

    rows = [_row(key, list(cells[key].values()), measured) for key in sorted(cells, key=place_of)]
    rows = [replace(row, q=q) for row, q in zip(rows, corrected([row.p for row in rows]), strict=True)]
    references = {
        (model, name): _reference(model, name, stage, measured)
        for trial in plan.trials
        for model, scores in ((trial.student, trial.original), (trial.teacher, trial.teacher_scores))
        for name, stage in scores.items()
        if stage in measured.records
    }
    return Results(
        rows,
        list(references.values()),
        [_surprise(key, stage, measured) for key, stage in training_perplexities.items()],
        [_divergence(key, list(drawn[key].values()), measured) for key in sorted(drawn, key=place_of)],
        recovery_budgets(walks, plan.study, leading_benchmark(rows), lambda stage: _scores(measured.grades(stage))),
        unfinished,
        [_style(key, list(worded[key].values()), measured) for key in sorted(worded, key=place_of)],
    )


def leading_benchmark(rows: Sequence[Row]) -> str | None:
    """The benchmark that figures show: the first one with levels, else the first."""
    names = list(dict.fromkeys(row.benchmark for row in rows))
    return next((name for name in names if "level" in ways_to_part(rows, name)), names[0] if names else None)


def ways_to_part(rows: Sequence[Row], benchmark: str) -> list[str]:
    """The ways in which a benchmark has parts, as level and subject, where there is more than one part."""
    groups = next((row.original_groups for row in rows if row.benchmark == benchmark), {})
    return [group for group, parts in groups.items() if len(parts) > 1]


class Measured:
    """What the finished stages of a study have measured, each read once."""

    def __init__(self, store: Store, records: dict[Stage, dict[str, Any]]):
        self._store, self.records = store, records
        self._grades: dict[Stage, list[Graded]] = {}
        self._generations: dict[Stage, list[Generation]] = {}
        self._likelihoods: dict[Stage, list[CompletionLogprobs]] = {}
        self._styles: dict[Stage, list[StyleShares]] = {}

    def grades(self, stage: Stage) -> list[Graded]:
        if stage not in self._grades:
            self._grades[stage] = grades_of(self._folder(stage))
        return self._grades[stage]

    def generations(self, stage: Stage) -> list[Generation]:
        """The answers that an evaluation graded."""
        asked = stage.inputs["answers"]
        if asked not in self._generations:
            self._generations[asked] = answers_of(self._folder(asked))
        return self._generations[asked]

    def likelihoods(self, stage: Stage) -> list[CompletionLogprobs]:
        if stage not in self._likelihoods:
            self._likelihoods[stage] = likelihoods_of(self._folder(stage))
        return self._likelihoods[stage]

    def styles(self, stage: Stage) -> list[StyleShares]:
        if stage not in self._styles:
            self._styles[stage] = shares_of(self._folder(stage))
        return self._styles[stage]

    def _folder(self, stage: Stage) -> Path:
        return self._store.folder(stage.address, self.records[stage])


def _row(key: tuple, members: list[tuple[Trial, Stage]], measured: Measured) -> Row:
    student, teacher, condition, recovery, budget, at, benchmark = key
    trial = members[0][0]
    before = measured.grades(trial.original[benchmark])
    after = [measured.grades(stage) for _, stage in members]
    assert all([e.id for e in one] == [e.id for e in before] for one in after), "examples do not pair"
    before_E = _scores(before)
    after_S_E = np.stack([_scores(one) for one in after])
    return Row(
        student,
        teacher,
        condition,
        recovery,
        budget,
        at,
        benchmark,
        n=len(before),
        seeds=[t.seed for t, _ in members],
        score=mean_score(after_S_E),
        change=paired_change(before_E, after_S_E),
        p=mcnemar(before_E, after_S_E),
        q=float("nan"),
        detectable=_detectable(before_E, after_S_E),
        original=float(before_E.mean()),
        teacher_score=measured.records[trial.teacher_scores[benchmark]]["facts"]["accuracy"],
        diagnostics=_diagnostics([measured.records[stage]["facts"] for _, stage in members]),
        groups=by_group([e for one in after for e in one]),
        original_groups=by_group(before),
    )


def _reference(model: str, benchmark: str, stage: Stage, measured: Measured) -> Reference:
    graded = measured.grades(stage)
    return Reference(
        model,
        benchmark,
        len(graded),
        mean_score(_scores(graded)[None, :]),
        _diagnostics([measured.records[stage]["facts"]]),
        by_group(graded),
    )


def _detectable(before_E: np.ndarray, after_S_E: np.ndarray) -> float | None:
    if not set(np.unique([before_E, *after_S_E])) <= {0.0, 1.0}:
        return None  # Means of several answers change by less than a verdict.
    n, discordant = len(before_E), float((after_S_E != before_E).mean())
    found = smallest_effect(n, discordant) if discordant else math.nan
    if math.isnan(found):  # A change that could be found changes more verdicts than these: all the same way, at best.
        found = smallest_effect(n)
    return None if math.isnan(found) else found


def _surprise(key: tuple, stage: Stage, measured: Measured) -> TrainingPerplexity:
    student, teacher, condition = key
    rows = measured.likelihoods(stage)
    nll = {part: mean_nll(rows, part) for part in parts_of(rows)}
    return TrainingPerplexity(student, teacher, condition, len(rows), nll)


def _divergence(key: tuple, members: list[tuple[Trial, tuple[Stage, Stage]]], measured: Measured) -> Divergence:
    student, teacher, condition, recovery, budget, at, benchmark = key
    ours = pooled([measured.likelihoods(stage) for _, (stage, _) in members])
    theirs = pooled([measured.likelihoods(stage) for _, (_, stage) in members])
    kl = {part: divergence(ours, theirs, part) for part in parts_of(ours)}
    seeds = [trial.seed for trial, _ in members]
    return Divergence(student, teacher, condition, recovery, budget, at, benchmark, len(ours), seeds, kl)


def _style(key: tuple, members: list[tuple[Trial, Stage]], measured: Measured) -> Style:
    student, teacher, condition, recovery, budget, at, benchmark = key
    read = [measured.styles(stage) for _, stage in members]
    share = mean_score(np.array([[one.student for one in each] for each in read]))
    told_apart = accuracy(read[0])  # The same for every seed, as are the two whose answers are told apart.
    return Style(
        student,
        teacher,
        condition,
        recovery,
        budget,
        at,
        benchmark,
        n=len(read[0]),
        seeds=[trial.seed for trial, _ in members],
        share=share,
        original=fmean(one.base for one in read[0]),
        teacher_share=fmean(one.teacher for one in read[0]),
        accuracy=told_apart,
        clear=told_apart >= DISTINCT,
    )


def _scores(graded: list[Graded]) -> np.ndarray:
    return np.array([one.score for one in graded], dtype=float)


def _diagnostics(facts: Sequence[dict[str, Any]]) -> Diagnostics:
    means = {
        name: fmean(one[name] for one in facts)
        for name in ("samples", "truncated", "unparsed", "mean_length", "median_length", "p95_length")
    }
    grading_failed = fmean(one["grading_failed"] / (one["n"] * one["samples"]) for one in facts)
    passes = {f"pass@{k}": fmean(one["pass"][k] for one in facts) for k in facts[0].get("pass", {})}
    figures = {name: fmean(one["figures"][name] for one in facts) for name in facts[0]["figures"]}
    return Diagnostics(**means, grading_failed=grading_failed, figures={**passes, **figures})
