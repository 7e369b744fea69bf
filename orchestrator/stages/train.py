"""The stage `train`: SFT of a student by Ray Train, LoRA or full weights."""

import json
import random
import tempfile
from typing import Any

from orchestrator.stage import Stage
from orchestrator.stages.sample import read_chats
from orchestrator.study import Schedule, Study
from orchestrator.work import Work, checkpoint_of
from trainers.settings import Lora, TrainSettings

VERSION = 1
FIGURES = "training.json"


def stage(
    study: Study,
    base: Stage,
    data: Stage,
    start: Stage | None,
    rows: int | None,
    schedule: Schedule,
    seed: int,
) -> Stage:
    """A student trained on the answers of `data` (the first `rows` in an order drawn from the seed)."""
    recipe = study.train.model_dump()
    settings = {
        **recipe,
        "epochs": schedule.epochs,
        "min_steps": schedule.min_steps,
        "seed": seed,
        "dtype": study.dtype,
    }
    if recipe["method"] == "full":
        del settings["rank"], settings["alpha"]
    on = data.name if rows is None else f"{rows}-{data.name}"
    return Stage(
        "train",
        VERSION,
        f"{base.name}-on-{on}-s{seed}" if start is None else f"{start.name}-then-{on}",
        {**settings, "rows": rows},
        {"base": base, "data": data} | ({} if start is None else {"start": start}),
        {
            **study.resources.train.model_dump(),
            "retries": study.resources.retries,
            "engine": base.runtime["engine"],
        },
    )


def run(work: Work) -> dict[str, Any]:
    import ray.train
    from ray.train.torch import TorchTrainer

    settings = dict(work.stage.settings)
    rows, lora = settings.pop("rows"), None
    if settings.pop("method") == "lora":
        lora = Lora(settings.pop("rank"), settings.pop("alpha"))
    start = work.stage.inputs.get("start")
    base, adapter = checkpoint_of(work.store, work.stage.inputs["base"].address), None
    if start is not None and lora is not None:
        adapter = work.folder("start")
    elif start is not None:
        base = checkpoint_of(work.store, start.address)
    job = {
        "checkpoint": base,
        "adapter": adapter,
        "chats": _choose(read_chats(work.folder("data")), rows, settings["seed"]),
        "settings": TrainSettings(lora=lora, **settings),
        "out": work.out,
        "micro_batch": work.stage.runtime["micro_batch"],
        "threads": max(1, int(work.stage.runtime["cpus"])),
    }
    with tempfile.TemporaryDirectory() as scratch:
        TorchTrainer(
            _train,
            train_loop_config=job,
            # Ray Train's local mode: the loop runs in this process, which already holds the stage's resources.
            scaling_config=ray.train.ScalingConfig(num_workers=0, use_gpu=work.stage.runtime["gpus"] > 0),
            run_config=ray.train.RunConfig(name=work.stage.fingerprint[:10], storage_path=scratch),
        ).fit()
    figures = json.loads((work.out / FIGURES).read_text())
    return {key: value for key, value in figures.items() if key != "losses"} | {
        "weights": "checkpoint" if lora is None else "adapter"
    }


def _choose(chats: list, rows: int | None, seed: int) -> list:
    if rows is None:
        return chats
    if rows > len(chats):
        raise ValueError(
            f"a budget of {rows} samples needs more than the {len(chats)} answers that ended by themselves"
        )
    return random.Random(f"budget {seed}").sample(chats, len(chats))[:rows]


def _train(job: dict[str, Any]) -> None:
    import ray.train
    import torch

    from trainers.loop import train

    torch.set_num_threads(job.pop("threads"))
    figures = train(**job)
    (job["out"] / FIGURES).write_text(json.dumps(figures))
    ray.train.report({"loss": figures["last_loss"]})
