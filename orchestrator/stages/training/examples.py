"""What a training learns from, as the trainer's job."""

import random
from pathlib import Path

from evaluators.engines.chat_template import Chat
from evaluators.evaluate import chats_of
from orchestrator.stages import data
from orchestrator.stages.sample import generations_of
from orchestrator.stages.train import RLProblems, TrainingPrompts
from orchestrator.stages.transform import rows_of
from orchestrator.store.context import StageContext
from trainers.job import TrainJob


def train_job(context: StageContext) -> TrainJob:
    """The training of a stage. Raises ValueError for examples that cannot be read, or are too few."""
    inputs, settings = context.stage.inputs, context.stage.settings
    start = None
    if "start" in inputs:
        start = context.folder("start") if settings.leaves_adapter else Path(context.checkpoint("start"))
    return TrainJob(
        base=context.checkpoint("base"),
        examples=read_chats(context),
        settings=settings.train,
        out=context.out,
        start=start,
        teacher=context.checkpoint("teacher") if "teacher" in inputs else None,
    )


def read_chats(context: StageContext) -> list[Chat]:
    """The examples of a stage, in the order in which the trainer numbers them."""
    settings, runtime = context.stage.settings, context.stage.runtime
    match settings.examples:
        case RLProblems(prompts=problems):
            rows = data.read_examples(problems.examples, runtime.location, context.store)
            return chats_of(problems.examples.kind, rows, problems.prompt, problems.system)
        case TrainingPrompts() as examples:
            if examples.prompts is None:
                chats = [one.prompt for one in generations_of(context.folder("prompts"))]
            else:
                chats = data.read_prompts(examples.prompts, runtime.location, context.store)
        case _:
            chats = [row.chat for row in rows_of(context.folder("data"))]
    return choose(chats, settings.examples.rows, settings.train.seed, runtime.takes_fewer)


def choose(chats: list[Chat], rows: int | None, seed: int, takes_fewer: bool = False) -> list[Chat]:
    """That many of the chats, in an order drawn from the seed. Where there are fewer: all with `takes_fewer`, and else
    it raises ValueError."""
    if rows is None:
        return chats
    if rows > len(chats) and not takes_fewer:
        raise ValueError(
            f"a budget of {rows} samples needs more than the {len(chats)} answers that are neither truncated nor failed"
        )
    return random.Random(f"budget {seed}").sample(chats, len(chats))[:rows]
