"""Weight noise: the original student with random noise as large as the off-model update, the control for harm that any
change of weights of that size would do.

Source: "Why does off-model SFT degrade capabilities?" (LessWrong, May 2026), hypothesis 3. The exact control is not
known from there: Gaussian noise that has, tensor by tensor, the Frobenius norm of the update is our reading. The update
is that of the student of `off_model`, trained once for both; the draw belongs to the trial's seed.
"""

from pydantic import Field

from orchestrator.stages.builder import Builder, ConditionSpec
from orchestrator.stages.weights import Noise
from orchestrator.study.settings import Settings

SEEDS_APART = 1_000_003  # between two draws, so that one of a trial's seed is none of another's


class Options(Settings):
    draw: int = Field(0, ge=0, description="a further draw for the same seeds")


def build(builder: Builder, options: Options) -> ConditionSpec:
    student = builder.train(builder.teacher)
    return ConditionSpec(builder.weights(student, Noise(seed=builder.seed + SEEDS_APART * options.draw)))
