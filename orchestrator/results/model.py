"""What a study has measured, as the report, the terminal and results.json show it."""

from collections.abc import Sequence
from dataclasses import dataclass

from evaluators.analysis.recovery_budget import RecoveryBudget
from evaluators.analysis.statistics import Interval
from evaluators.analysis.values import Summary
from orchestrator.measures import SCORE


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
    """A measure of an untrained model of the study on one benchmark."""

    measure: str
    model: str
    benchmark: str
    diagnostics: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class RecoveryResult(OfPair):
    """The budget of a recovery that restores the share `recovered` of the untrained student's score."""

    condition: str
    recovery: str
    benchmark: str
    recovered: float
    n: int
    seeds: list[int]
    budget: RecoveryBudget


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
class Results:
    """What finished trials have measured; `unfinished` names the other trials. Measurements are by measure, in the
    order in which the study names pairs, conditions, points and benchmarks. `warnings` are sentences for the reader."""

    measurements: dict[str, list[Measurement]]
    gaps_closed: list[GapClosed]
    untrained: list[UntrainedModel]
    recovery_budgets: list[RecoveryResult]
    hypotheses: list[HypothesisResult]
    unfinished: list[str]
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
