"""What became of a study's findings: each effect with its interval, and whether the finding is there.

Found is a finding whose whole 95 % interval lies on the expected side of no difference or, where the same is expected,
within the margin (an equivalence test, stricter than the usual two one-sided ones at 5 %). Opposite is one whose whole
interval lies on the other side, or outside the margin. All else is not found: this study does not show it, which does
not say that it is false. What unfinished trials leave out is not measured. Nothing is corrected for the number of
findings: where there is no difference at all, one in forty is found by chance.
"""

from dataclasses import dataclass
from itertools import groupby

import numpy as np

from evaluators.analysis.logprobs import divergence, pooled
from evaluators.analysis.statistics import Interval, difference, paired_difference
from evaluators.analysis.style import StyleShares
from evaluators.evaluate import Graded
from orchestrator.plan.hypotheses import found_in, halves, is_at, pairs_of, trials_of
from orchestrator.plan.points import completed_points
from orchestrator.plan.trial import EvaluationPoint, Plan
from orchestrator.results.read import Measured, Results
from orchestrator.store.stage import Stage
from orchestrator.study.hypotheses import ORIGINAL, TEACHER, Hypothesis, Point, points

FOUND, OPPOSITE, NOT_FOUND, NOT_MEASURED = "found", "opposite", "not found", "not measured"
VERDICTS = (FOUND, NOT_FOUND, OPPOSITE, NOT_MEASURED)


@dataclass(frozen=True)
class HypothesisResult:
    """A finding for one pair. The effect is of `compared` less `versus`: of scores and style in shares, of perplexity
    and KL in nats a token. It is over `n` examples (of `by`: in both halves) and `seeds`, none where nothing was
    trained. `note` says why there is none."""

    experiment: int | str
    claim: str
    student: str
    teacher: str
    of: str
    benchmark: str | None
    compared: str
    versus: str
    by: str | None
    expected: str
    margin: float | None
    effect: Interval | None
    n: int
    seeds: list[int]
    verdict: str
    note: str


class _NotMeasured(Exception):
    """What a finding needs is not there; the message says which trial has not finished."""


def evaluate_hypotheses(plan: Plan, results: Results, measured: Measured) -> list[HypothesisResult]:
    """Every finding of the study, for each pair that it is about."""
    source = _Source(plan, results, measured)
    return [
        _judged(finding, student, teacher, source)
        for finding in plan.study.hypotheses
        for student, teacher in pairs_of(finding, plan.study)
    ]


def verdict(effect: Interval, expected: str, margin: float | None = None) -> str:
    """On which side of what is expected the whole interval lies."""
    if expected == "same":
        assert margin is not None
        if -margin <= effect.low and effect.high <= margin:
            return FOUND
        return OPPOSITE if effect.low > margin or effect.high < -margin else NOT_FOUND
    if effect.low <= 0 <= effect.high:
        return NOT_FOUND
    return FOUND if (effect.high < 0) == (expected == "lower") else OPPOSITE


def compared(found: dict) -> str:
    """What a finding compares, in a table; of a finding as JSON has it."""
    asked = f" on {found['benchmark']}" if found["benchmark"] else ""
    of = f", {found['of']}" if found["of"] != "score" else ""
    by = f", higher against lower {found['by']}" if found["by"] else ""
    return found["compared"] + asked + of + by


def by_claim(judged: list[dict]) -> list[list[dict]]:
    """Those next to each other that belong to one claim."""
    return [list(group) for _, group in groupby(judged, lambda one: (one["experiment"], one["claim"]))]


def told(found: dict) -> str:
    """A finding's effect in a table; of a finding as JSON has it."""
    effect = found["effect"]
    return f"{effect['value']:+.3f} [{effect['low']:+.3f}, {effect['high']:+.3f}]" if effect else found["note"]


def expectation(found: dict) -> str:
    """What a finding expects, in a table; of a finding as JSON has it."""
    return f"same ± {found['margin']:g}" if found["margin"] is not None else found["expected"]


def size(found: dict) -> str:
    """Examples by seeds."""
    if found["effect"] is None:
        return ""
    return f"{found['n']} x {len(found['seeds'])}" if found["seeds"] else str(found["n"])


def counted(judged: list[dict]) -> str:
    """How many there are of each verdict: `3 found, 1 not found`."""
    counts = {name: sum(one["verdict"] == name for one in judged) for name in VERDICTS}
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)


class _Source:
    """Where the figures of a point are looked up."""

    def __init__(self, plan: Plan, results: Results, measured: Measured):
        self.plan, self.results, self.measured = plan, results, measured
        self._walked = {trial.key: completed_points(trial, plan.study, measured.records) for trial in plan.trials}

    def steps(self, point: Point) -> list[EvaluationPoint]:
        """The point in the trials of all seeds."""
        found: dict[int, EvaluationPoint] = {}
        missing: dict[int, str] = {}
        for trial in trials_of(point, self.plan.trials):
            walked = self._walked[trial.key]
            for step in trial.steps:
                if is_at(step, point) and step in (walked or ()):
                    found.setdefault(trial.seed, step)
                elif is_at(step, point):
                    why = (
                        "has not finished"
                        if walked is None
                        else "has gone without this point: its search did not come to it"
                    )
                    missing[trial.seed] = f"{trial.key} {why}"
        for seed in self.plan.study.seeds:
            if seed not in found:
                raise _NotMeasured(missing[seed])
        return [found[seed] for seed in self.plan.study.seeds]

    def graded(self, point: Point) -> list[list[Graded]]:
        """Of each seed; of a model as it is, of the one that there is."""
        if point.condition in (ORIGINAL, TEACHER):
            trial = next(t for t in self.plan.trials if (t.student, t.teacher) == (point.student, point.teacher))
            scores = trial.original if point.condition == ORIGINAL else trial.teacher_scores
            return [self._grades(scores[str(point.benchmark)])]
        return [self._grades(found_in(step, "score")[str(point.benchmark)]) for step in self.steps(point)]

    def _grades(self, stage: Stage) -> list[Graded]:
        if stage not in self.measured.records:
            raise _NotMeasured(f"{stage.address} is not done")
        return self.measured.grades(stage)

    def read_alike(self, point: Point) -> list[list[StyleShares]]:
        """As `graded`, by whom answers read like."""
        if point.condition not in (ORIGINAL, TEACHER):
            return [self.measured.styles(found_in(step, "style")[str(point.benchmark)]) for step in self.steps(point)]
        for trial in self.plan.trials:
            if (trial.student, trial.teacher) == (point.student, point.teacher):
                for step in self._walked[trial.key] or ():
                    if point.benchmark in step.style:  # Any: they all tell of the same answers of these two.
                        return [self.measured.styles(step.style[str(point.benchmark)])]
        raise _NotMeasured(f"no trial of {point.student} / {point.teacher} has finished")


def _judged(finding: Hypothesis, student: str, teacher: str, source: _Source) -> HypothesisResult:
    first, second = points(finding, student, teacher)
    compare = {"score": _scores, "style": _style, "perplexity": _perplexity, "kl": _kl}[finding.metric]
    try:
        effect, n = compare(finding, first, second, source)
        said, note = verdict(effect, finding.expected, finding.margin), ""
    except _NotMeasured as missing:
        effect, n, said, note = None, 0, NOT_MEASURED, str(missing)
    trained = finding.metric != "perplexity" and not {first.condition, second.condition} <= {ORIGINAL, TEACHER}
    elsewhere = {
        "student": second.student if second.student != student else None,
        "teacher": second.teacher if second.teacher != teacher else None,
        "benchmark": second.benchmark if second.benchmark != first.benchmark else None,
    }
    against = ", ".join([str(second), *(f"{key} {name}" for key, name in elsewhere.items() if name is not None)])
    return HypothesisResult(
        finding.experiment,
        finding.claim,
        student,
        teacher,
        finding.metric,
        first.benchmark,
        str(first),
        against,
        finding.group_by,
        finding.expected,
        finding.margin,
        effect,
        n,
        source.plan.study.seeds if trained else [],
        said,
        note,
    )


def _scores(finding: Hypothesis, first: Point, second: Point, source: _Source) -> tuple[Interval, int]:
    one, other = source.graded(first), source.graded(second)
    one_S_E, other_S_E = (_stacked([{e.id: e.score for e in graded} for graded in each]) for each in (one, other))
    assert {e.id for e in one[0]} == {e.id for e in other[0]}, "examples do not pair"
    if finding.group_by is None:
        return paired_difference(one_S_E, other_S_E), one_S_E.shape[1]
    part_of = {e.id: e.group[finding.group_by] for e in one[0]}
    parts = [part_of[id] for id in sorted(part_of)]
    lower, higher = ([i for i, part in enumerate(parts) if part in half] for half in halves(parts))
    of_lower, of_higher = (paired_difference(one_S_E[:, half], other_S_E[:, half]) for half in (lower, higher))
    return difference(of_higher, of_lower), len(lower) + len(higher)


def _style(finding: Hypothesis, first: Point, second: Point, source: _Source) -> tuple[Interval, int]:
    one_S_E, other_S_E = (
        _stacked([{e.id: getattr(e, _whose(point)) for e in read} for read in source.read_alike(point)])
        for point in (first, second)
    )
    return paired_difference(one_S_E, other_S_E), one_S_E.shape[1]


def _whose(point: Point) -> str:
    return {ORIGINAL: "base", TEACHER: "teacher"}.get(point.condition, "student")


def _stacked(scores_S: list[dict[str, float]]) -> np.ndarray:
    """(seeds, examples), the examples in the order of their ids."""
    assert len({frozenset(scores) for scores in scores_S}) == 1, "examples do not pair"
    return np.array([[scores[id] for id in sorted(scores)] for scores in scores_S])


def _perplexity(finding: Hypothesis, first: Point, second: Point, source: _Source) -> tuple[Interval, int]:
    """Both are taken for independent; sets of answers to the same prompts are surprising together, if at all."""
    found = []
    for point in (first, second):
        place = (point.student, point.teacher, point.condition)
        of_point = [
            one for one in source.results.training_perplexities if (one.student, one.teacher, one.condition) == place
        ]
        if not of_point:
            raise _NotMeasured(f"no trial of {'.'.join(map(str, place))} has finished")
        found.append(of_point[0])
    return difference(found[0].nll["all"], found[1].nll["all"]), found[0].n


def _kl(finding: Hypothesis, first: Point, second: Point, source: _Source) -> tuple[Interval, int]:
    """Both are taken for independent, and are of these students: how far others have gone is not in the intervals."""
    found, n = [], 0
    for point in (first, second):
        if point.condition == ORIGINAL:
            found.append(Interval(0.0, 0.0, 0.0))
            continue
        steps = source.steps(point)
        ours, theirs = (
            pooled([source.measured.likelihoods(step.divergence[str(point.benchmark)][i]) for step in steps])
            for i in (0, 1)
        )
        found.append(divergence(ours, theirs))
        n = n or len(ours)
    return difference(*found), n
