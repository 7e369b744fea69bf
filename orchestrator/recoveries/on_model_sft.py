"""Recovery by on-model SFT: a little training on the original student's own answers; a budget counts the answers.

Source: "Why does off-model SFT degrade capabilities?" (LessWrong, May 2026), evidence 1 and appendix 1a. Which of the
answers are taken is drawn from the trial's seed, and a larger budget holds the smaller one's answers.
"""

from typing import Any

from orchestrator.stages.builder import Builder
from orchestrator.store.stage import Stage
from orchestrator.study.recoveries import Recovery

AFTER: dict[str, Any] = {
    "objective": "sft",
    "steps_per_generation": 1,
    "num_train_epochs": 1.0,
    "min_steps": 1,
    "checkpoints": [],
}
SPENT = "samples of the original student"


def recover(builder: Builder, start: Stage, budget: int, recovery: Recovery) -> Stage:
    recipe = builder.recipe(**{**AFTER, **recovery.train})
    return builder.train(builder.student, recipe, start=start, rows=budget)
