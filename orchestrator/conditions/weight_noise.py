"""Weight noise: the base student plus random noise of the size of the off-model update, a control for the harm that any
change of weights of that size does.

Source: "Why does off-model SFT degrade capabilities?" (LessWrong, May 2026), hypothesis 3. Its exact control is not
known: Gaussian noise with the Frobenius norm of the update, tensor by tensor, is our reading. The update is that of the
student of `off_model`, trained once for both. The noise is drawn by the trial's seed.
"""

from pydantic import Field

from orchestrator.stages.builder import Builder, ConditionSpec
from orchestrator.stages.weights import Noise
from orchestrator.study.settings import Settings

SEEDS_APART = 1_000_003  # between two draws, so that no draw of one trial seed is a draw of another


class Options(Settings):
    draw: int = Field(0, ge=0, description="the number of the draw: another one for the same seeds")


def build(builder: Builder, options: Options) -> ConditionSpec:
    student = builder.train(builder.teacher)
    return ConditionSpec(builder.weights(student, Noise(seed=builder.seed + SEEDS_APART * options.draw)))
