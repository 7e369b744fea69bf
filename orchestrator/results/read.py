"""A study's results, read once from the records of its stages: all finished points, also of unfinished trials."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from evaluators.analysis.statistics import corrected
from orchestrator.measures import MEASURES, POINTS, SCORE, STUDENTS, TRAINING_DATA, measures_of
from orchestrator.plan.points import Progress, progress_of
from orchestrator.plan.trial import Plan, Trial
from orchestrator.results.consistency import warnings_of
from orchestrator.results.gaps import BySeed, gaps_closed
from orchestrator.results.grids import grids
from orchestrator.results.hypotheses import evaluate_hypotheses
from orchestrator.results.missing import missing_of, skipped_of
from orchestrator.results.model import Measurement, Point, Results, UntrainedModel, leading_benchmark, point_of
from orchestrator.results.recovery_budgets import recovery_budgets
from orchestrator.store.reader import StageReader
from orchestrator.store.stage import Stage
from orchestrator.study.hypotheses import TEACHER, UNTRAINED
from orchestrator.study.schema import Study


def read_results(plan: Plan, reader: StageReader) -> Results:
    """The results of all finished points."""
    progress = {trial.key: progress_of(trial, plan.study, reader.records) for trial in plan.trials}
    trials = [(trial, progress[trial.key]) for trial in plan.trials]
    measurements = {name: _at_points(name, trials, plan.study, reader) for name in measures_of(plan.study, POINTS)}
    for name in measures_of(plan.study, STUDENTS):
        measurements[name] = _of_students(name, trials, plan.study, reader)
    for name in measures_of(plan.study, TRAINING_DATA):
        measurements[name] = _of_training_data(name, plan.trials, reader)
    leading = leading_benchmark(measurements[SCORE])
    missing = list(missing_of(plan, progress, reader))
    return Results(
        measurements=measurements,
        gaps_closed=list(gaps_closed(_by_place(SCORE, trials, plan.study), plan.study, reader)),
        untrained=list(_untrained(plan, reader)),
        recovery_budgets=recovery_budgets(trials, plan.study, leading, reader),
        grids=grids([(trial, own.finished) for trial, own in trials], measurements[SCORE], reader),
        hypotheses=evaluate_hypotheses(plan, progress, missing, reader),
        unfinished=[key for key, own in progress.items() if not own.complete],
        missing=missing,
        short_budgets=[short for own in progress.values() for short in own.short],
        skipped=list(skipped_of(plan, reader)),
        warnings=list(warnings_of(reader.records)),
    )


def _at_points(
    name: str, trials: Sequence[tuple[Trial, Progress]], study: Study, reader: StageReader
) -> list[Measurement]:
    """A measure at each point and benchmark that it was taken on, in the study's order."""
    found = _by_place(name, trials, study)
    measurements = [_measurement(name, place, found[place], reader) for place in found]
    if any(one.p is None for one in measurements):
        return measurements
    q = corrected([one.p for one in measurements if one.p is not None])
    return [replace(one, q=each) for one, each in zip(measurements, q, strict=True)]


def _by_place(name: str, trials: Sequence[tuple[Trial, Progress]], study: Study) -> dict[tuple[Point, str], BySeed]:
    """The stages of a measure by seed, of each point and benchmark, in the study's order."""
    # Trials of several recoveries share the points before any recovery, so that a seed counts once.
    found: dict[tuple[Point, str], BySeed] = defaultdict(dict)
    for trial, progress in trials:
        for evaluated in progress.finished:
            for benchmark, stages in evaluated.measured[name].items():
                found[point_of(trial, evaluated), benchmark][trial.seed] = (trial, stages)
    return {place: found[place] for place in sorted(found, key=_order(study))}


def _order(study: Study) -> Callable[[tuple[Point, str]], tuple]:
    """A sort key for points and benchmarks: the order of the study, budgets upwards, checkpoints before the end."""
    pairs = {(pair.student, pair.teacher): number for number, pair in enumerate(study.pair_list)}
    conditions, benchmarks = list(study.conditions), list(study.benchmarks)
    recoveries = ["", *study.recoveries]

    def place_of(place: tuple[Point, str]) -> tuple:
        point, benchmark = place
        return (
            pairs[point.student, point.teacher],
            conditions.index(point.condition),
            recoveries.index(point.recovery),
            point.budget,
            math.inf if point.step is None else point.step,
            benchmarks.index(benchmark),
        )

    return place_of


def _measurement(name: str, place: tuple[Point, str], by_seed: BySeed, reader: StageReader) -> Measurement:
    measure, (point, benchmark) = MEASURES.module(name), place
    trial = next(iter(by_seed.values()))[0]
    stages_S = [stages for _, stages in by_seed.values()]
    # The stages of a point have the values of the untrained models too, for a measure that these have no stages of.
    own = {
        model: trial.untrained_stages(model, name, benchmark) if name in trial.untrained[model] else stages_S[0]
        for model in measure.UNTRAINED_MODELS
    }
    untrained = {
        model: measure.values(reader, stages, model)
        for model, stages in own.items()
        # The teacher's evaluation may have failed, and a data set has none.
        if stages and all(stage in reader.records for stage in stages)
    }
    numbers = _numbers(name, stages_S, reader, untrained)
    return Measurement(point=point, benchmark=benchmark, seeds=list(by_seed), **numbers)


def _numbers(
    name: str,
    stages_S: list[tuple[Stage, ...]],
    reader: StageReader,
    untrained: Mapping[str, Any],
) -> dict[str, Any]:
    """What a measure found in the stages of all seeds; fields of `Measurement` and `UntrainedModel`."""
    measure = MEASURES.module(name)
    values_S = [measure.values(reader, stages, "student") for stages in stages_S]
    summary = type(values_S[0]).summary(values_S, untrained.get(UNTRAINED), untrained.get(TEACHER))
    return {"measure": name, "diagnostics": measure.diagnostics(reader, stages_S), **vars(summary)}


def _of_students(
    name: str, trials: Sequence[tuple[Trial, Progress]], study: Study, reader: StageReader
) -> list[Measurement]:
    """A measure of the student of each point, in the study's order."""
    found: dict[Point, dict[int, tuple[Stage, ...]]] = defaultdict(dict)
    for trial, progress in trials:
        for evaluated in progress.finished:
            if name in evaluated.of_student:
                found[point_of(trial, evaluated)][trial.seed] = evaluated.of_student[name]
    first, place_of = next(iter(study.benchmarks)), _order(study)
    return [
        Measurement(
            point=point,
            benchmark=None,
            seeds=list(found[point]),
            **_numbers(name, [*found[point].values()], reader, {}),
        )
        for point in sorted(found, key=lambda point: place_of((point, first)))
    ]


def _of_training_data(name: str, trials: Sequence[Trial], reader: StageReader) -> list[Measurement]:
    """A measure of each condition's training data; of the last seed that has it, if data differ between seeds."""
    found: dict[Point, tuple[int, tuple[Stage, ...]]] = {}
    for trial in trials:
        stages = trial.training_data.get(name, ())
        if stages and all(stage in reader.records for stage in stages):
            point = Point(student=trial.student, teacher=trial.teacher, condition=trial.condition)
            found[point] = (trial.seed, stages)
    return [
        Measurement(point=point, benchmark=None, seeds=[seed], **_numbers(name, [stages], reader, {}))
        for point, (seed, stages) in found.items()
    ]


def _untrained(plan: Plan, reader: StageReader) -> Iterator[UntrainedModel]:
    """Every untrained model on every benchmark on which it is evaluated, once for all names that a study gives it."""
    names: dict[tuple[str, str, tuple[Stage, ...]], dict[str, None]] = defaultdict(dict)
    for trial in plan.trials:
        for model, alias in ((UNTRAINED, trial.student), (TEACHER, trial.teacher)):
            for name, by_benchmark in trial.untrained[model].items():
                for benchmark, stages in by_benchmark.items():
                    names[name, benchmark, stages][alias] = None
    for (name, benchmark, stages), aliases in names.items():
        if all(stage in reader.records for stage in stages):
            model = ", ".join(aliases)
            yield UntrainedModel(model=model, benchmark=benchmark, **_numbers(name, [stages], reader, {}))
