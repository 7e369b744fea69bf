"""The share of the gap that each condition and recovery closes, between the off-model student and the base student.

    (score - off-model student's score) / (base student's score - off-model student's score)

The off-model student is that of the first condition of kind `off_model` that changes nothing of the study's settings.
There is a gap where off-model SFT lowers a score: where the whole 95 % interval of its change lies below 0.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from evaluators.analysis.statistics import gap_closed, paired_change
from evaluators.analysis.values import Shares
from orchestrator.measures import MEASURES, SCORE
from orchestrator.plan.trial import Trial
from orchestrator.results.model import GapClosed, Point
from orchestrator.store.reader import StageReader
from orchestrator.store.stage import Stage
from orchestrator.study.hypotheses import UNTRAINED
from orchestrator.study.schema import Study

OFF_MODEL = "off_model"
BySeed = dict[int, tuple[Trial, tuple[Stage, ...]]]  # a trial of each seed, and its stages of a measure


def off_model_condition(study: Study) -> str | None:
    """The study's condition whose student is the off-model student, if it has one."""
    plain = (name for name, one in study.conditions.items() if one.kind == OFF_MODEL and not one.options)
    return next(plain, None)


def gaps_closed(scores: Mapping[tuple[Point, str], BySeed], study: Study, reader: StageReader) -> Iterator[GapClosed]:
    """The share that each point closes on each benchmark with a gap, of the seeds that both students have."""
    condition = off_model_condition(study)
    if condition is None:
        return
    for (point, benchmark), by_seed in scores.items():
        start = replace(point, condition=condition, recovery="", budget=0, step=None)
        before = scores.get((start, benchmark), {})
        seeds = [seed for seed in by_seed if seed in before]
        if point == start or not seeds:
            continue
        before_S_E, after_S_E = (_scores([of[seed][1] for seed in seeds], reader) for of in (before, by_seed))
        trial = by_seed[seeds[0]][0]
        (target_E,) = _scores([trial.untrained_stages(UNTRAINED, SCORE, benchmark)], reader)
        if paired_change(target_E, before_S_E).high < 0:
            yield GapClosed(
                point=point,
                benchmark=benchmark,
                n=len(target_E),
                seeds=seeds,
                score=float(after_S_E.mean()),
                off_model=float(before_S_E.mean()),
                untrained=float(target_E.mean()),
                closed=gap_closed(before_S_E, after_S_E, target_E),
            )


def _scores(stages_S: list[tuple[Stage, ...]], reader: StageReader) -> np.ndarray:
    """(seeds, examples)."""
    values_S: list[Shares] = [MEASURES.module(SCORE).values(reader, stages, "student") for stages in stages_S]
    assert all(one.ids == values_S[0].ids for one in values_S), "examples do not pair"
    return np.array([one.values for one in values_S], dtype=float)
