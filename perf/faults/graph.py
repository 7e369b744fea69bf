"""A small study without models: its stages compute hashes, and leave what real stages leave.

A sample keeps partial results, a training saves states and publishes a checkpoint on its way. What a stage writes is
decided by its identity and its inputs alone, so every history of faults must end with the same files.
"""

import hashlib
import shutil
import tempfile
import uuid
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from orchestrator.stages import train
from orchestrator.store.context import StageContext
from orchestrator.store.partial import load_state, read_partial, save_state
from orchestrator.store.stage import Runtime, Stage, closure
from orchestrator.study.resources import TrainResources
from trainers.settings import TrainSettings

STEPS, PIECES = 4, 3


def stages() -> list[Stage]:
    """All stages, inputs first: two students of one base, with a checkpoint each, their samples and grades."""
    base = Stage("model", 1, "base", {"seed": 0}, runtime=Runtime(cpus=1, retries=9))
    data = Stage("sample", 1, "data", {"seed": 0}, {"base": base}, Runtime(retries=9))
    found = []
    for seed in (1, 2):
        settings = train.TrainStageSettings(
            train=TrainSettings(learning_rate=1.0, seed=seed, dtype="float32"),
            examples=train.Completions(rows=None),
            sampling=None,
        )
        runtime = train.TrainRuntime(resources=TrainResources(), checkpoints=(2,), cpus=1, retries=9)
        student = Stage("train", 1, f"student-{seed}", settings, {"base": base, "data": data}, runtime)
        for weights in (train.at_step(student, 2), student):
            sample = Stage(
                "sample", 1, f"{weights.name}-answers", {}, {"base": base, "student": weights}, Runtime(retries=9)
            )
            found.append(Stage("evaluate", 1, f"{weights.name}-grades", {}, {"generations": sample}))
    return closure(found)


def kinds(executed: Path) -> dict[str, SimpleNamespace]:
    """What the stages of each kind do. `executed` gets a line for each execution that begins or ends."""

    def logged(run: Any) -> SimpleNamespace:
        def act(context: StageContext) -> dict[str, Any]:
            _log(executed, f"begin {context.stage.address}")
            facts = run(context)
            _log(executed, f"end {context.stage.address}")
            return facts

        return SimpleNamespace(run=act)

    return {"model": logged(_plain), "evaluate": logged(_plain), "sample": logged(_sample), "train": logged(_train)}


def _log(executed: Path, line: str) -> None:
    with open(executed, "a") as file:
        file.write(line + "\n")


def content(context: StageContext) -> bytes:
    """What the stage computes from its inputs' files."""
    files = [context.folder(role) / "out" for role in context.stage.inputs]
    parts = [context.stage.fingerprint.encode(), *(file.read_bytes() for file in files)]
    return hashlib.sha256(b"".join(parts)).hexdigest().encode()


def _plain(context: StageContext) -> dict[str, Any]:
    (context.out / "out").write_bytes(content(context))
    return {"accuracy": 0.5}


def _sample(context: StageContext) -> dict[str, Any]:
    pieces = [f"{context.stage.fingerprint} {number}\n" for number in range(PIECES)]
    done = set(read_partial(context.store, context.stage).splitlines(keepends=True))
    for piece in pieces:
        if piece not in done:
            context.append_partial(piece)
    (context.out / "out").write_bytes(content(context) + "".join(pieces).encode())
    return {"tokens": PIECES}


def _train(context: StageContext) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        state = load_state(context.store, context.stage, Path(scratch, "resumed"))
        step = int((state / "step").read_text()) if state is not None else 0
        stop = context.stage.settings.train.stop_after or STEPS
        for number in range(step + 1, stop + 1):
            if number in context.stage.runtime.checkpoints:
                _publish_checkpoint(context, number)
            folder = Path(scratch, f"state-{number}")
            folder.mkdir()
            (folder / "step").write_text(str(number))
            context.check_held()
            save_state(context.store, context.stage, folder, context.lease.number if context.lease else 0)
    return _plain(context)


def _publish_checkpoint(context: StageContext, step: int) -> None:
    checkpoint = train.at_step(context.stage, step)
    out, published = context.store.new_folder(checkpoint, f"left-{uuid.uuid4().hex[:8]}"), False
    try:
        (out / "out").write_bytes(content(replace(context, stage=checkpoint)))
        published = context.publish(checkpoint, out, out.name, 0.0, {"steps": step})
    finally:
        if not (published and context.store.is_local):
            shutil.rmtree(out, ignore_errors=True)
