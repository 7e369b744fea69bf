"""What is measured beside scores."""

from pydantic import Field

from orchestrator.study.settings import Settings


class Measures(Settings):
    """What is measured beside scores."""

    perplexity: bool = Field(False, description="of the training data under the base student")
    kl: list[str] = Field([], description="benchmarks on whose prompts KL(student || base student) is estimated")
    style: list[str] = Field(
        [],
        description="benchmarks whose answers are classified: in the base student's style, or in the teacher's",
    )
    kl_every_steps: int = Field(
        10,
        ge=0,
        description="training steps between two estimates of KL(student || base student); 0: none",
    )
