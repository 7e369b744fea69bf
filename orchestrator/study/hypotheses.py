"""Hypotheses: what each experiment of a study is expected to show, declared before it runs.

A hypothesis compares two points of the study, by default a trained student with the base student, and says in which
direction the effect should be. All names in it are checked when the study is planned. The report compares it with the
results, separately for each pair; `student` and `teacher` of a point choose pairs.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from evaluators.messages import shown
from orchestrator.study.settings import Settings

UNTRAINED, TEACHER = "untrained", "teacher"  # the pair's untrained models, in the place of a condition
Origin = Literal["post", "follow-up", "digest", "reading", "ours"]
ORIGINS = (
    "who says that it should be so. post: the post that the study repeats; follow-up: another post of the same group; "
    "digest: a digest of the post by others; reading: our reading of the post, which does not say it; ours: no one else"
)


class Point(Settings):
    """A student on a benchmark: a condition's, before any recovery, after a budget of it, or at a `step` of its first
    training; or the pair's untrained student or teacher. Also written as the condition's name alone."""

    condition: str = Field(description=f"a condition, or {UNTRAINED} or {TEACHER} for the pair's untrained models")
    benchmark: str | None = Field(None, description="a benchmark; of versus: that of compare by default")
    recovery: str | None = Field(None, description="a recovery; the only one of the condition by default")
    budget: int = Field(0, ge=0, description="the recovery budget; 0: before any recovery")
    step: int | None = Field(None, gt=0, description="a step of the condition's training, among its train.checkpoints")
    student: str | None = Field(None, description="a student; of compare: all by default, of versus: the same")
    teacher: str | None = Field(None, description="a teacher; of compare: all by default, of versus: the same")

    @model_validator(mode="after")
    def _is_one_point(self) -> "Point":
        if self.step is not None and (self.budget or self.recovery):
            raise ValueError("step: a step of the first training is before any recovery: leave budget and recovery out")
        if self.condition in (UNTRAINED, TEACHER) and (self.step is not None or self.budget or self.recovery):
            raise ValueError(f"{self.condition} is an untrained model: it has no step, budget or recovery")
        if self.recovery is not None and not self.budget:
            raise ValueError("recovery has no effect without a budget")
        return self

    def __str__(self) -> str:
        recovered = f", then {self.budget}{f' of {self.recovery}' if self.recovery else ''}" if self.budget else ""
        return f"{self.condition}{recovered}{f' at step {self.step}' if self.step is not None else ''}"


def _from_name(value: Any) -> Any:
    return {"condition": value} if isinstance(value, str) else value


NamedPoint = Annotated[Point, BeforeValidator(_from_name, json_schema_input_type=str | Point)]


def _number_or_text(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | str | None):
        raise ValueError(f"give a number or text, not {shown(value)}")
    return value


class Hypothesis(Settings):
    """A claim, and the comparison that must show it: `compare` with `versus`."""

    experiment: Annotated[int | str | None, BeforeValidator(_number_or_text)] = Field(
        None, description="the experiment that it belongs to, which groups hypotheses in the report; none by default"
    )
    source: Origin = Field(description=ORIGINS)
    claim: str = Field(min_length=1, description="the claim in words")
    metric: str = Field("score", description="the score, or another measure of the study")
    compare: NamedPoint = Field(description="what is compared, for each pair of student and teacher by itself")
    versus: NamedPoint = Field(Point(condition=UNTRAINED), description="with what; the base student by default")
    group_by: str | None = Field(
        None, description="groups of examples, as level: the effect in the higher half minus that in the lower"
    )
    expected: Literal["lower", "higher", "same"] = Field(description="compare is expected to be so relative to versus")
    margin: float | None = Field(
        None, gt=0, description="of expected: same: the largest difference that counts as the same"
    )

    @model_validator(mode="after")
    def _has_an_effect(self) -> "Hypothesis":
        if self.expected == "same" and self.margin is None:
            raise ValueError("expected: same needs a margin, such as margin: 0.05")
        if self.expected != "same" and self.margin is not None:
            raise ValueError(f"margin has no effect on expected: {self.expected}: leave it out, or use expected: same")
        return self


def points(hypothesis: Hypothesis, student: str, teacher: str) -> tuple[Point, Point]:
    """The two points for one pair, with all names filled in."""
    first = hypothesis.compare.model_copy(update={"student": student, "teacher": teacher})
    second = hypothesis.versus
    left_out = {key: getattr(first, key) for key in ("student", "teacher", "benchmark") if getattr(second, key) is None}
    return first, second.model_copy(update=left_out)
