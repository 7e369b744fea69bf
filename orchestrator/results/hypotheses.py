"""The outcomes of a study's hypotheses: each effect with its interval, and whether it is as expected.

A hypothesis is supported if its whole 95 % interval lies on the expected side of no difference. If "same" is expected,
the interval must lie within the margin: an equivalence test, stricter than the usual two one-sided tests at 5 %. It is
contradicted if its whole interval lies on the other side, or outside the margin. All else is inconclusive: this study
does not show it, which does not say that it is false. A point is not measured unless all seeds have it. Nothing is
corrected for the number of hypotheses: if there is no difference at all, one in forty is supported by chance.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, get_args

from evaluators.analysis.statistics import Interval, difference
from evaluators.analysis.values import halves, text_of
from orchestrator.measures import MEASURES, TRAINING_DATA
from orchestrator.plan.hypotheses import is_at, pairs_of, trials_of
from orchestrator.plan.points import Progress
from orchestrator.plan.trial import EvaluationPoint, Plan
from orchestrator.results.model import HypothesisResult, Missing
from orchestrator.store.reader import StageReader
from orchestrator.store.stage import Stage
from orchestrator.study.hypotheses import TEACHER, UNTRAINED, Hypothesis, Origin, Point, points

SUPPORTED, INCONCLUSIVE, CONTRADICTED = "supported", "inconclusive", "contradicted"
NOT_MEASURED = "not measured"
OUTCOMES = (SUPPORTED, INCONCLUSIVE, CONTRADICTED, NOT_MEASURED)


class _NotMeasured(Exception):
    """A point that a hypothesis needs has no values yet; the message says why."""


def evaluate_hypotheses(
    plan: Plan, progress: Mapping[str, Progress], missing: Sequence[Missing], reader: StageReader
) -> list[HypothesisResult]:
    """Every hypothesis of the study, for each pair that it is about. `progress` is by the key of a trial,
    and `missing` is what unfinished trials lack."""
    source = _Source(plan, progress, missing, reader)
    return [
        _result(hypothesis, student, teacher, source)
        for hypothesis in plan.study.hypotheses
        for student, teacher in pairs_of(hypothesis, plan.study)
    ]


def outcome(effect: Interval, expected: str, margin: float | None = None) -> str:
    """On which side of what is expected the whole interval lies."""
    if expected == "same":
        assert margin is not None
        if -margin <= effect.low and effect.high <= margin:
            return SUPPORTED
        return CONTRADICTED if effect.low > margin or effect.high < -margin else INCONCLUSIVE
    if effect.low <= 0 <= effect.high:
        return INCONCLUSIVE
    return SUPPORTED if (effect.high < 0) == (expected == "lower") else CONTRADICTED


def comparison(result: HypothesisResult) -> str:
    """What is compared, in a table: `off-model on maths`."""
    benchmark = f" on {result.benchmark}" if result.benchmark else ""
    by = f", higher against lower {result.group_by}" if result.group_by else ""
    return f"{result.compared}{benchmark}{by}"


def effect(result: HypothesisResult) -> str:
    """The effect in a table, or why there is none."""
    return result.note if result.effect is None else text_of(result.effect, "{:+.3f}")


def expectation(result: HypothesisResult) -> str:
    """`lower`, `higher`, or `same ± 0.05`."""
    return f"same ± {result.margin:g}" if result.margin is not None else result.expected


def unit(result: HypothesisResult) -> str:
    """The measure and its unit: `score, share`."""
    return f"{result.metric}, {MEASURES.module(result.metric).UNIT}"


def both_values(result: HypothesisResult) -> str:
    """The means of the two that are compared: `0.633, 0.473`."""
    return "" if result.values is None else "{:.3f}, {:.3f}".format(*result.values)


def size(result: HypothesisResult) -> str:
    """Examples by seeds: `200 x 3`."""
    if result.effect is None:
        return ""
    return f"{result.n} x {len(result.seeds)}" if result.seeds else str(result.n)


def by_source(results: Sequence[HypothesisResult]) -> dict[str, dict[str, int]]:
    """How many hypotheses of each source have each outcome, in the order of `Origin`."""
    found = {source: Counter(one.outcome for one in results if one.source == source) for source in get_args(Origin)}
    return {source: {one: count[one] for one in OUTCOMES if count[one]} for source, count in found.items() if count}


def by_source_in_words(results: Sequence[HypothesisResult]) -> str:
    """`post: 12 supported, 3 contradicted; ours: 1 supported`."""
    counts = {source: [f"{n} {one}" for one, n in count.items()] for source, count in by_source(results).items()}
    return "; ".join(f"{source}: {', '.join(each)}" for source, each in counts.items())


def by_claim(results: Sequence[HypothesisResult]) -> list[list[HypothesisResult]]:
    """Neighbours that belong to one claim of an experiment."""
    return [list(group) for _, group in groupby(results, lambda one: (one.experiment, one.source, one.claim))]


class _Source:
    """Looks up the values of a point."""

    def __init__(self, plan: Plan, progress: Mapping[str, Progress], missing: Sequence[Missing], reader: StageReader):
        self.study, self._trials, self._progress, self._reader = plan.study, plan.trials, progress, reader
        self._reasons = {one.trial: one.reason for one in reversed(missing) if one.reason}

    def values(self, metric: str, point: Point) -> Sequence[Any]:
        """The `Shares` or `Ratios` of a measure, for each seed; of an untrained model or training data, for one."""
        measure = MEASURES.module(metric)
        if measure.SUBJECT == TRAINING_DATA:
            return [measure.values(self._reader, self._training_data(metric, point), "student")]
        benchmark = str(point.benchmark)
        if point.condition in (UNTRAINED, TEACHER):
            return [measure.values(self._reader, self._untrained(metric, point), point.condition)]
        return [
            measure.values(self._reader, evaluated.measured[metric][benchmark], "student")
            for evaluated in self._evaluated(point)
        ]

    def _training_data(self, metric: str, point: Point) -> tuple[Stage, ...]:
        """Of the last seed that has it."""
        of_seeds = [trial.training_data[metric] for trial in trials_of(point, self._trials)]
        done = [stages for stages in of_seeds if all(stage in self._reader.records for stage in stages)]
        if not done:
            raise _NotMeasured(f"{of_seeds[-1][0].address} is not done")
        return done[-1]

    def _untrained(self, metric: str, point: Point) -> tuple[Stage, ...]:
        """Stages of an untrained model's own, or those of any point of its pair, which tell the same of it."""
        benchmark = str(point.benchmark)
        of_pair = [trial for trial in self._trials if trial.pair == (point.student, point.teacher)]
        own = of_pair[0].untrained_stages(point.condition, metric, benchmark)
        for stage in own:
            if stage not in self._reader.records:
                raise _NotMeasured(f"{stage.address} is not done")
        if own:
            return own
        for trial in of_pair:
            for evaluated in self._progress[trial.key].finished:
                if benchmark in evaluated.measured[metric]:
                    return evaluated.measured[metric][benchmark]
        raise _NotMeasured(f"no point of {point.student} / {point.teacher} is finished")

    def _evaluated(self, point: Point) -> list[EvaluationPoint]:
        """The point in the trials of all seeds."""
        found: dict[int, EvaluationPoint] = {}
        missing: dict[int, str] = {}
        for trial in trials_of(point, self._trials):
            progress = self._progress[trial.key]
            for evaluated in (one for one in trial.points if is_at(one, point)):
                done = next((one for one in progress.finished if one.measured == evaluated.measured), None)
                short = next((one for one in progress.short if one.budget == evaluated.budget), None)
                if done is not None:
                    found.setdefault(trial.seed, done)
                elif short is not None:
                    missing[trial.seed] = str(short)
                elif progress.complete:
                    missing[trial.seed] = f"{trial.key} did not run this point: its search did not come to it"
                else:
                    reason = self._reasons.get(trial.key)
                    missing[trial.seed] = f"{trial.key} has not finished it{f': {reason}' if reason else ''}"
        for seed in self.study.seeds:
            if seed not in found:
                raise _NotMeasured(missing[seed])
        return [found[seed] for seed in self.study.seeds]


def _result(hypothesis: Hypothesis, student: str, teacher: str, source: _Source) -> HypothesisResult:
    compare, versus = points(hypothesis, student, teacher)
    measured: dict[str, Any]
    try:
        measured = _measured(hypothesis, compare, versus, source)
        found, note = outcome(measured["effect"], hypothesis.expected, hypothesis.margin), ""
    except _NotMeasured as missing:
        measured, found, note = {"values": None, "effect": None, "n": 0}, NOT_MEASURED, str(missing)
    is_trained = not {compare.condition, versus.condition} <= {UNTRAINED, TEACHER}
    of_points = MEASURES.module(hypothesis.metric).SUBJECT != TRAINING_DATA
    return HypothesisResult(
        **hypothesis.model_dump(include={"experiment", "source", "claim", "metric", "group_by", "expected", "margin"}),
        **measured,
        student=student,
        teacher=teacher,
        benchmark=compare.benchmark,
        compared=str(compare),
        versus=_versus(compare, versus),
        seeds=source.study.seeds if is_trained and of_points else [],
        outcome=found,
        note=note,
    )


def _versus(compare: Point, versus: Point) -> str:
    """The second point, with the names in which it differs from the first."""
    names = {key: getattr(versus, key) for key in ("student", "teacher", "benchmark")}
    differing = [f"{key} {name}" for key, name in names.items() if name != getattr(compare, key)]
    return ", ".join([str(versus), *differing])


def _measured(hypothesis: Hypothesis, compare: Point, versus: Point, source: _Source) -> dict[str, Any]:
    """The means of both points, their difference with its interval, and over how many examples: fields of
    `HypothesisResult`."""
    first_S, second_S = (source.values(hypothesis.metric, point) for point in (compare, versus))
    kind, values = type(first_S[0]), first_S[0]
    if hypothesis.group_by is None:
        means = kind.mean_of(first_S), kind.mean_of(second_S)
        return {"values": means, "effect": kind.difference(first_S, second_S), "n": len(values.ids)}
    part_of = {id: part[hypothesis.group_by] for id, part in zip(values.ids, values.parts, strict=True)}
    lower, higher = ({id for id, part in part_of.items() if part in half} for half in halves(list(part_of.values())))
    of_lower, of_higher = (
        kind.difference([one.only(ids) for one in first_S], [one.only(ids) for one in second_S])
        for ids in (lower, higher)
    )
    means = of_higher.value, of_lower.value
    return {"values": means, "effect": difference(of_higher, of_lower), "n": len(lower) + len(higher)}
