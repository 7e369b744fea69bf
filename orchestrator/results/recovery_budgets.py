"""The recovery budget of each pair, condition and recovery; see evaluators/analysis/recovery_budget.py.

It is of the benchmark and the share that a recovery's search looks for; without a search, of 95 % of the score on the
benchmark that figures show. A trial that is not finished counts if it has run a budget above 0.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from evaluators.analysis.recovery_budget import recovery_budget
from orchestrator.measures import MEASURES, SCORE
from orchestrator.plan.points import Progress
from orchestrator.plan.trial import Trial
from orchestrator.results.model import RecoveryResult
from orchestrator.store.reader import StageReader
from orchestrator.store.stage import Stage
from orchestrator.study.schema import Study

ENOUGH = 0.95


def recovery_budgets(
    trials: Sequence[tuple[Trial, Progress]], study: Study, leading: str | None, reader: StageReader
) -> list[RecoveryResult]:
    """Of all trials, by pair. `leading` is the benchmark of recoveries without a search."""
    groups: dict[tuple[str, ...], list[tuple[Trial, Progress]]] = defaultdict(list)
    for trial, progress in trials:
        if trial.recovery:
            groups[*trial.pair, trial.condition, trial.recovery].append((trial, progress))
    pairs = [(pair.student, pair.teacher) for pair in study.pair_list]
    found = sorted(groups.values(), key=lambda group: pairs.index(group[0][0].pair))
    results = (_result(group, study, leading, reader) for group in found)
    return [result for result in results if result is not None]


def _result(
    trials: Sequence[tuple[Trial, Progress]], study: Study, leading: str | None, reader: StageReader
) -> RecoveryResult | None:
    """Of the trials of one recovery; None where none has run budgets, or they are not evaluated on its benchmark."""
    trial = trials[0][0]
    search = study.recoveries[trial.recovery].search
    benchmark, recovered = (leading, ENOUGH) if search is None else (search.benchmark, search.recovered)
    if benchmark is None or benchmark not in trial.points[-1].scores:
        return None
    by_seed: dict[int, Mapping[int, np.ndarray]] = {}
    for one, progress in trials:
        at_budgets = {
            point.budget: _scores(point.scores[benchmark], reader) for point in progress.finished if point.step is None
        }
        if 0 in at_budgets and (progress.complete or len(at_budgets) > 1):
            by_seed[one.seed] = at_budgets
    if not by_seed:
        return None
    untrained = _scores(trial.untrained_scores[benchmark], reader)
    return RecoveryResult(
        student=trial.student,
        teacher=trial.teacher,
        condition=trial.condition,
        recovery=trial.recovery,
        benchmark=benchmark,
        recovered=recovered,
        n=len(untrained),
        seeds=list(by_seed),
        budget=recovery_budget(untrained, list(by_seed.values()), recovered),
    )


def _scores(evaluation: Stage, reader: StageReader) -> np.ndarray:
    return np.array(MEASURES.module(SCORE).values(reader, (evaluation,), "student").values, dtype=float)
