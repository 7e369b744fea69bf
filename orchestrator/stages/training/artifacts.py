"""What a training writes besides its weights: metrics of its steps, checkpoints, and states to resume from."""

import json
import shutil
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

from orchestrator.stages.train import STEPS, at_step
from orchestrator.store import partial
from orchestrator.store.context import StageContext


def append_metrics(context: StageContext, metrics: Mapping[str, float]) -> None:
    """Append a line to the log of steps, which can be read during the training."""
    with open(context.out / STEPS, "a") as file:
        file.write(json.dumps(metrics) + "\n")


def publish_checkpoint(context: StageContext, step: int, folder: Path) -> None:
    """Publish the weights in `folder` as the checkpoint of the stage at a step."""
    stage = at_step(context.stage, step)
    attempt = uuid.uuid4().hex[:8]
    out, published = context.store.new_folder(stage, attempt), False
    try:
        shutil.copytree(folder, out, dirs_exist_ok=True)
        published = context.publish(stage, out, attempt, time.time(), {"steps": step})
    finally:
        if not (published and context.store.is_local):  # An earlier attempt may have published it.
            shutil.rmtree(out, ignore_errors=True)


def save_state(context: StageContext, folder: Path) -> None:
    """Keep the state in `folder`, with the log of steps so far, for a later attempt."""
    context.check_held()
    shutil.copyfile(context.out / STEPS, folder / STEPS)
    partial.save_state(context.store, context.stage, folder, context.lease.number if context.lease else 0)


def restore_metrics(context: StageContext, state: Path | None) -> None:
    """Set the log of steps back to that of the state."""
    # Lost processes may have logged steps after their last state, and the processes after them use the same folder.
    (context.out / STEPS).unlink(missing_ok=True)
    if state is not None:
        shutil.copyfile(state / STEPS, context.out / STEPS)
