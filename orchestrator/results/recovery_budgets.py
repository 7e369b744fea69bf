"""The recovery budget of each pair, condition and recovery; see evaluators/analysis/recovery_budget.py.

It is of the benchmark and the share that a recovery's search looks for; without a search, of 95 % of the score on the
benchmark that figures show.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from evaluators.analysis.recovery_budget import recovery_budget
from orchestrator.measures import MEASURES, SCORE
from orchestrator.plan.trial import EvaluationPoint, Trial
from orchestrator.results.model import RecoveryResult
from orchestrator.store.reader import StageReader
from orchestrator.store.stage import Stage
from orchestrator.study.schema import Study

ENOUGH = 0.95
Finished = tuple[Trial, list[EvaluationPoint]]  # a finished trial, with the points that it has run


def recovery_budgets(
    finished: Sequence[Finished], study: Study, leading: str | None, reader: StageReader
) -> list[RecoveryResult]:
    """Of all finished trials, by pair. `leading` is the benchmark of recoveries without a search."""
    trials: dict[tuple[str, ...], list[Finished]] = defaultdict(list)
    for trial, points in finished:
        if trial.recovery:
            trials[*trial.pair, trial.condition, trial.recovery].append((trial, points))
    pairs = [(pair.student, pair.teacher) for pair in study.pair_list]
    found = sorted(trials.values(), key=lambda group: pairs.index(group[0][0].pair))
    results = (_result(group, study, leading, reader) for group in found)
    return [result for result in results if result is not None]


def _result(
    finished: Sequence[Finished], study: Study, leading: str | None, reader: StageReader
) -> RecoveryResult | None:
    """Of the trials of one recovery; None where they are not evaluated on its benchmark."""
    trial, points = finished[-1]
    search = study.recoveries[trial.recovery].search
    benchmark, recovered = (leading, ENOUGH) if search is None else (search.benchmark, search.recovered)
    if benchmark is None or benchmark not in points[-1].scores:
        return None
    untrained = _scores(trial.untrained_scores[benchmark], reader)
    by_seed = {
        one.seed: {point.budget: _scores(point.scores[benchmark], reader) for point in points if point.step is None}
        for one, points in finished
    }
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
