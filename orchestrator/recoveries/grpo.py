"""Recovery by RL: GRPO on problems whose answers can be checked; a budget counts steps.

Source: "Why does off-model SFT degrade capabilities?" (LessWrong, May 2026), appendix 1c, which does not name its
algorithm: GRPO is our choice. All budgets are steps of one training, as long as the largest of them, so that a search
among them saves evaluations and no training.
"""

from orchestrator.stages.builder import Builder
from orchestrator.stages.train import stopped
from orchestrator.store.stage import Stage
from orchestrator.study.recoveries import Recovery, RecoveryTrain
from orchestrator.study.settings import Settings

SPENT = "steps of GRPO"


class Options(Settings):
    train: RecoveryTrain


def recover(builder: Builder, start: Stage, budget: int, recovery: Recovery, options: Options) -> Stage:
    longest = max(recovery.budgets)
    on_its_way = [step for step in sorted(recovery.budgets) if step < longest]
    if "max_steps" in options.train:
        raise ValueError("train.max_steps: a budget of grpo is its steps: leave this out")
    recipe = builder.recipe(**{"objective": "grpo", **options.train, "max_steps": longest, "checkpoints": on_its_way})
    if recipe.objective["kind"] != "grpo":
        raise ValueError(f"train.objective: this method is grpo, and not {recipe.objective['kind']}")
    whole = builder.train(builder.student, recipe, start=start)
    return whole if budget == longest else stopped(whole, budget)
