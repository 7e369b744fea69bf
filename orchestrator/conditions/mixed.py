"""Mixed: a share of the prompts has the student's own completions, the others have the teacher's, in a given order.

Source: our own design. It is not the reminder training of "How to reduce capability degradation from off-model SFT"
(LessWrong, June 2026), which is a second training, on own completions alone: the recovery on_model_sft. Rows at the end
of one schedule that decays get a small part of its learning rates. The number of rows is that of off_model. The trial's
seed draws the prompts with own completions.
"""

from typing import Literal

from pydantic import Field

from orchestrator.stages.builder import Builder, ConditionSpec
from orchestrator.stages.transforms import mixed
from orchestrator.study.settings import Settings
from orchestrator.study.train import TrainChanges


class Options(Settings):
    share: float = Field(gt=0, lt=1, description="share of the prompts with the student's own completion")
    arrange: Literal["shuffled", "after", "interleaved"] = Field(
        "shuffled", description="own completions among the teacher's, after them, or in batches evenly between theirs"
    )
    train: TrainChanges


def build(builder: Builder, options: Options) -> ConditionSpec:
    kept = {} if options.arrange == "shuffled" else {"order": "fixed"}
    if "order" in options.train:
        raise ValueError("train.order: arrange decides the order: leave order out")
    recipe = builder.recipe(**options.train, **kept)
    if options.arrange == "after" and (recipe.num_train_epochs > 1 or recipe.max_steps or recipe.min_steps > 1):
        raise ValueError(
            "arrange: own completions come after the teacher's in one epoch only: set num_train_epochs to 1, without "
            "max_steps and min_steps"
        )
    inputs = {"data": builder.sample(builder.teacher), "student": builder.sample(builder.student)}
    block, seed = recipe.batch_size if options.arrange == "interleaved" else 1, builder.seed
    data = builder.transform(mixed.apply, inputs, share=options.share, arrange=options.arrange, block=block, seed=seed)
    return ConditionSpec(builder.train(builder.teacher, recipe, data=data))
