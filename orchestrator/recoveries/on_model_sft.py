"""On-model SFT: a little training on the base student's own completions of the training prompts; a budget counts
samples.

Source: "Why does off-model SFT degrade capabilities?" (LessWrong, May 2026), evidence 1 and appendix 1a; the reminder
training of "How to reduce capability degradation from off-model SFT" (LessWrong, June 2026). The trial's seed draws the
completions, and a larger budget contains those of a smaller one. The training is one pass over them, unless the
recovery's own `train` says otherwise: its length is not that of the study's `train`.
"""

from typing import Any

from orchestrator.stages.builder import Builder
from orchestrator.store.stage import Stage
from orchestrator.study.recoveries import Recovery, RecoveryTrain
from orchestrator.study.settings import Settings

AFTER: dict[str, Any] = {
    "objective": "sft",
    "steps_per_generation": 1,
    "num_train_epochs": 1.0,
    "min_steps": 1,
    "max_steps": None,
    "checkpoints": [],
}
SPENT = "samples of the base student"


class Options(Settings):
    train: RecoveryTrain


def recover(builder: Builder, start: Stage, budget: int, recovery: Recovery, options: Options) -> Stage:
    recipe = builder.recipe(**{**AFTER, **options.train})
    shrinks = recovery.too_few_samples == "shrink"
    return builder.train(builder.student, recipe, start=start, rows=budget, takes_fewer=shrinks)
