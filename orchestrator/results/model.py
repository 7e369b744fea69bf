"""What a study has measured, as the report, the terminal and results.json show it."""

from collections.abc import Sequence
from dataclasses import dataclass

from evaluators.analysis.grid_variance import GridVariance
from evaluators.analysis.recovery_budget import RecoveryBudget
from evaluators.analysis.statistics import Interval
from evaluators.analysis.values import Summary
from orchestrator.measures import SCORE
from orchestrator.plan.points import ShortBudget
from orchestrator.plan.trial import EvaluationPoint, Trial


@dataclass(frozen=True, kw_only=True)
class OfPair:
    """Something of a student with its teacher."""

    student: str
    teacher: str

    @property
    def pair(self) -> str:
        return f"{self.student} / {self.teacher}"


@dataclass(frozen=True, kw_only=True)
class Point(OfPair):
    """A condition of a pair after a budget of a recovery ("" and 0: before any recovery) or, with `step`, after that
    step of its first training."""

    condition: str
    recovery: str = ""
    budget: int = 0
    step: int | None = None

    @property
    def recovery_data(self) -> str:
        """The budget of which recovery, as `32 own samples`; `none` before any."""
        return f"{self.budget} {self.recovery}" if self.budget else "none"

    @property
    def label(self) -> str:
        """Where this point lies in its condition, in a few words."""
        return f"step {self.step}" if self.step is not None else self.recovery_data if self.budget else "trained"

    @property
    def name(self) -> str:
        """The condition, with the recovery if there was one."""
        return f"{self.condition}, then {self.recovery_data}" if self.budget else self.condition

    @property
    def title(self) -> str:
        """The name, with the step of a checkpoint."""
        return self.name if self.step is None else f"{self.name} at step {self.step}"


def point_of(trial: Trial, evaluated: EvaluationPoint) -> Point:
    return Point(
        student=trial.student,
        teacher=trial.teacher,
        condition=trial.condition,
        recovery=evaluated.recovery,
        budget=evaluated.budget,
        step=evaluated.step,
    )


@dataclass(frozen=True, kw_only=True)
class Measurement(Summary):
    """A measure at a point on a benchmark, over all seeds that have finished; or, without a benchmark, of the student
    of a point, or of the training data of a condition. `q` is `p` corrected for all measurements of this measure in the
    study."""

    measure: str
    point: Point
    benchmark: str | None
    seeds: list[int]
    q: float | None = None
    diagnostics: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class GapClosed:
    """How much of the gap between the off-model student's score and the untrained student's is closed at a point: 0 is
    the former's score, 1 the latter's. All four are of the same examples and seeds."""

    point: Point
    benchmark: str
    n: int
    seeds: list[int]
    score: float
    off_model: float
    untrained: float
    closed: Interval


@dataclass(frozen=True, kw_only=True)
class UntrainedModel(Summary):
    """A measure of an untrained model of the study on one benchmark. `model` has all names of the same model."""

    measure: str
    model: str
    benchmark: str
    diagnostics: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class RecoveryResult(OfPair):
    """The budget of a recovery that restores the share `recovered` of the untrained student's score; None if that score
    is 0."""

    condition: str
    recovery: str
    benchmark: str
    recovered: float
    n: int
    seeds: list[int]
    budget: RecoveryBudget | None


@dataclass(frozen=True, kw_only=True)
class GridResult:
    """The changes of a condition on a benchmark, by student and teacher, and the shares of their variance.

    `changes` has a row for each student and a column for each teacher; None where a pair has no result. The shares are
    over `pairs`, those of students with several teachers and teachers with several students, on `n` examples and the
    `seeds` that all of them have. There are none where no seed is left, or where all pairs changed alike.
    """

    condition: str
    benchmark: str
    students: list[str]
    teachers: list[str]
    changes: list[list[Interval | None]]
    pairs: list[tuple[str, str]]
    n: int
    seeds: list[int]
    variance: GridVariance | None


@dataclass(frozen=True, kw_only=True)
class HypothesisResult:
    """A hypothesis for one pair.

    The effect is `compared` minus `versus`, in the unit of the metric, over `n` examples (with `group_by`: of both
    halves) and `seeds`, of which there are none if nothing was trained. `values` are the means of the two (with
    `group_by`: the differences in the higher and in the lower half). `note` says why there is no effect.
    """

    experiment: int | str | None
    source: str
    claim: str
    student: str
    teacher: str
    metric: str
    benchmark: str | None
    compared: str
    versus: str
    group_by: str | None
    expected: str
    margin: float | None
    values: tuple[float, float] | None
    effect: Interval | None
    n: int
    seeds: list[int]
    outcome: str
    note: str


@dataclass(frozen=True, kw_only=True)
class Missing:
    """A point that an unfinished trial lacks, an evaluation of an untrained model, or a measure of its training data.

    `reason` is the failure of a stage that it needs, or at which the trial ended; empty: it has not run yet.
    """

    trial: str
    what: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class SkippedExamples:
    """The examples of a benchmark, of `n`, that are not graded, since their gold answers cannot be read: a message for
    each, which names it."""

    benchmark: str
    n: int
    examples: list[str]


@dataclass(frozen=True, kw_only=True)
class Results:
    """What the finished points of all trials have measured. Measurements are by measure, in the order in which the
    study names pairs, conditions, points and benchmarks.

    `unfinished` names trials that lack something, and `missing` says what and why. `short_budgets` were skipped or
    shrunk, and `skipped` has the examples that are not graded. `warnings` are sentences for the reader.
    """

    measurements: dict[str, list[Measurement]]
    gaps_closed: list[GapClosed]
    untrained: list[UntrainedModel]
    recovery_budgets: list[RecoveryResult]
    grids: list[GridResult]
    hypotheses: list[HypothesisResult]
    unfinished: list[str]
    missing: list[Missing]
    short_budgets: list[ShortBudget]
    skipped: list[SkippedExamples]
    warnings: list[str]

    @property
    def scores(self) -> list[Measurement]:
        return self.measurements.get(SCORE, [])

    def pairs(self, benchmark: str | None = None) -> list[tuple[str, str]]:
        """The pairs of which there are scores, on any benchmark or on this one."""
        points = (one.point for one in self.scores if benchmark in (None, one.benchmark))
        return list(dict.fromkeys((point.student, point.teacher) for point in points))


def leading_benchmark(scores: Sequence[Measurement]) -> str | None:
    """The benchmark that figures show: the first one with levels, else the first."""
    names = list(dict.fromkeys(str(one.benchmark) for one in scores))
    return next((name for name in names if "level" in grouped_by(scores, name)), names[0] if names else None)


def grouped_by(measurements: Sequence[Measurement], benchmark: str) -> list[str]:
    """The ways in which a benchmark has parts, such as level and subject, where there is more than one part."""
    groups = next((one.untrained_groups for one in measurements if one.benchmark == benchmark), {})
    return [group for group, parts in groups.items() if len(parts) > 1]
