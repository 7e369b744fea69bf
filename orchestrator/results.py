"""A study's results, read from its records: one row for each pair, condition, budget and benchmark."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from evaluators.evaluate import Example
from evaluators.statistics import Interval, mean_score, paired_change
from orchestrator.plan import Plan, Trial
from orchestrator.stage import Stage
from orchestrator.stages.evaluate import examples_of
from orchestrator.store import Store
from orchestrator.trial import steps_walked


@dataclass(frozen=True)
class Row:
    """A score over all seeds and examples, and its change from the original student on the same examples."""

    student: str
    teacher: str
    condition: str
    budget: int
    benchmark: str
    n: int
    seeds: list[int]
    score: Interval
    change: Interval
    original: float
    teacher_score: float
    cut_off: float
    not_found: float
    mean_length: float
    by_level: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Reference:
    """A model of the study as it is, on one benchmark."""

    model: str
    benchmark: str
    n: int
    score: Interval
    cut_off: float
    by_level: dict[str, float]


@dataclass(frozen=True)
class Results:
    """All that could be read; `unfinished` names the trials that could not."""

    rows: list[Row]
    references: list[Reference]
    unfinished: list[str]


def read_results(plan: Plan, records: dict[Stage, dict], examples: "Examples") -> Results:
    """The results of all finished trials, in the order in which the study names pairs, conditions and benchmarks."""
    cells: dict[tuple, list[tuple[Trial, Stage]]] = defaultdict(list)
    unfinished = []
    for trial in plan.trials:
        walked = steps_walked(trial, plan.study, records)
        if walked is None:
            unfinished.append(trial.key)
            continue
        for step in walked:
            for benchmark, stage in step.scores.items():
                cells[trial.student, trial.teacher, trial.condition, step.budget, benchmark].append((trial, stage))
    pairs = [(pair.student, pair.teacher) for pair in plan.study.pair_list]
    names, benchmarks = list(plan.study.conditions), list(plan.study.benchmarks)
    order = sorted(cells, key=lambda k: (pairs.index(k[:2]), names.index(k[2]), k[3], benchmarks.index(k[4])))
    rows = [_row(key, cells[key], examples) for key in order]
    references = {
        (model, name): _reference(model, name, examples.of(stage))
        for trial in plan.trials
        for model, scores in ((trial.student, trial.original), (trial.teacher, trial.teacher_scores))
        for name, stage in scores.items()
        if stage in records
    }
    return Results(rows, list(references.values()), unfinished)


class Examples:
    """The graded examples of evaluations, each read once."""

    def __init__(self, store: Store, records: dict[Stage, dict]):
        self._store, self._records = store, records
        self._read: dict[Stage, list[Example]] = {}

    def __contains__(self, stage: Stage) -> bool:
        return stage in self._records

    def of(self, stage: Stage) -> list[Example]:
        if stage not in self._read:
            self._read[stage] = examples_of(self._store.folder(stage.address, self._records[stage]))
        return self._read[stage]


def _row(key: tuple, members: list[tuple[Trial, Stage]], examples: Examples) -> Row:
    student, teacher, condition, budget, benchmark = key
    trial = members[0][0]
    before = examples.of(trial.original[benchmark])
    after = [examples.of(stage) for _, stage in members]
    assert all([e.id for e in one] == [e.id for e in before] for one in after), "examples do not pair"
    before_E = _verdicts(before)
    after_S_E = np.stack([_verdicts(one) for one in after])
    pooled = [e for one in after for e in one]
    return Row(
        student,
        teacher,
        condition,
        budget,
        benchmark,
        n=len(before),
        seeds=[t.seed for t, _ in members],
        score=mean_score(after_S_E),
        change=paired_change(before_E, after_S_E),
        original=float(before_E.mean()),
        teacher_score=float(_verdicts(examples.of(trial.teacher_scores[benchmark])).mean()),
        cut_off=float(np.mean([e.cut_off for e in pooled])),
        not_found=float(np.mean([not e.found for e in pooled])),
        mean_length=float(np.mean([len(e.ids) for e in pooled])),
        by_level={"student": _by_level(pooled), "original": _by_level(before)},
    )


def _reference(model: str, benchmark: str, examples: list[Example]) -> Reference:
    score = mean_score(_verdicts(examples)[None, :])
    cut_off = float(np.mean([e.cut_off for e in examples]))
    return Reference(model, benchmark, len(examples), score, cut_off, _by_level(examples))


def _verdicts(examples: list[Example]) -> np.ndarray:
    return np.array([e.correct for e in examples], dtype=float)


def _by_level(examples: list[Example]) -> dict[str, float]:
    levels = sorted({e.group["level"] for e in examples if "level" in e.group})
    return {str(level): float(np.mean([e.correct for e in examples if e.group["level"] == level])) for level in levels}
