"""Recovery by RL on problems whose answers can be checked, by default with GRPO; a budget counts steps.

Source: "Why does off-model SFT degrade capabilities?" (LessWrong, May 2026), appendix 1c, which does not name its
algorithm. All budgets are steps of one training, as long as the largest of them, so that `search` saves evaluations and
no training. `train.objective` takes any objective that learns from problems with a reward.
"""

from orchestrator.stages.builder import Builder
from orchestrator.stages.train import at_step
from orchestrator.store.stage import Stage
from orchestrator.study.recoveries import Recovery, RecoveryTrain
from orchestrator.study.settings import Settings

SPENT = "steps of RL"


class Options(Settings):
    train: RecoveryTrain


def recover(builder: Builder, start: Stage, budget: int, recovery: Recovery, options: Options) -> Stage:
    longest = max(recovery.budgets)
    checkpoints = [step for step in sorted(recovery.budgets) if step < longest]
    if "max_steps" in options.train:
        raise ValueError("train.max_steps: the budgets of this recovery are its steps: leave this out")
    recipe = builder.recipe(**{"objective": "grpo", **options.train, "max_steps": longest, "checkpoints": checkpoints})
    if recipe.traits.data != "problems":
        raise ValueError(
            f"train.objective: this recovery trains on problems with a reward, and {recipe.objective['kind']} does "
            f"not: use an objective of RL, as grpo"
        )
    whole = builder.train(builder.student, recipe, start=start)
    return whole if budget == longest else at_step(whole, budget)
