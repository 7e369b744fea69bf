"""A training as the work of a stage: what it learns from, how it goes on after a loss, what it leaves on its way, and
the engines that sample for it."""

import json
import random
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from evaluators.engines.chat_template import Chat
from evaluators.engines.generations import Generation
from evaluators.engines.requests import Request, RequestOutput, SamplingParams
from evaluators.evaluate import chats_of, example_ids, grade
from orchestrator.stages import data
from orchestrator.stages import train as stage_of
from orchestrator.stages.preemption import PreemptionNotice
from orchestrator.stages.train import STEPS
from orchestrator.stages.transform import rows_of
from orchestrator.store.context import StageContext, Weights, checkpoint_of
from orchestrator.study.schema import Problems, Prompts
from trainers import objectives
from trainers.callbacks import Callbacks
from trainers.job import TrainJob
from trainers.process import ProcessConfig
from trainers.rows import Example
from trainers.settings import Lora, TrainSettings

FIGURES = "training.json"
MICRO_TOKENS = {"cuda": 16384, "cpu": 4096}  # what does not fit into a CPU's caches is no faster for being more
OURS = (ValueError, ArithmeticError, AssertionError)  # what trying again does not mend
NOT_SETTINGS = (
    "tuning",
    "lora_r",
    "lora_alpha",
    "objective",
    "rows",
    "rl_problems",
    "prompts",
    "sampling_params",
    "max_model_len",
)


def run(work: StageContext) -> dict[str, Any]:
    """Train the stage's student into `work.out`; returns the facts for the record."""
    import ray.train
    from ray.train.torch import TorchTrainer

    place, retries = work.stage.runtime["place"], work.stage.runtime["retries"]
    alone = place["workers"] == 1 and not place["zero"]
    # Of several processes the first may be on another machine than this one, and leaves its files in the store.
    elsewhere = None if alone or work.store.is_local else work.store.temporary_path(work.stage)
    for more in reversed(range(retries + 1)):
        with tempfile.TemporaryDirectory() as scratch:
            trainer = TorchTrainer(
                _in_worker,
                train_loop_config={"work": work, "elsewhere": elsewhere},
                # A single process is Ray Train's local mode: this one, which already holds the stage's resources.
                scaling_config=ray.train.ScalingConfig(
                    num_workers=0 if alone else place["workers"],
                    use_gpu=place["gpus"] > 0,
                    resources_per_worker=None if alone else {"CPU": place["cpus"], "GPU": place["gpus"]},
                ),
                run_config=ray.train.RunConfig(name=work.stage.fingerprint[:10], storage_path=scratch),
            )
            try:
                trainer.fit()
                break
            except ray.train.WorkerGroupError as error:
                cause = _cause(error.worker_failures.values())
                # The loss of a process is to the others whatever error their next exchange with it ends in.
                if isinstance(cause, OURS) or not more:
                    raise cause from error
    if elsewhere is not None:
        work.store.fetch_temporary(elsewhere, work.out)
    figures = json.loads((work.out / FIGURES).read_text())
    adapter = work.stage.settings["tuning"] == "lora"
    return {key: value for key, value in figures.items() if key != "losses"} | {
        "weights": "adapter" if adapter else "checkpoint"
    }


def _cause(failures: Iterable[Exception]) -> Exception:
    """What went wrong, of what several processes say: rather what one of them found than that another was gone."""
    found = [getattr(failure, "_base_exc", failure) for failure in failures]
    return next((one for one in found if isinstance(one, OURS)), found[0])


def _in_worker(config: dict[str, Any]) -> None:
    """What each process of a training does."""
    import ray.train
    import ray.train.torch
    import torch

    from trainers import loop

    work: StageContext = config["work"]
    elsewhere: str | None = config["elsewhere"]
    context, how = ray.train.get_context(), work.stage.runtime["place"]
    if how["gpus"]:
        device = str(ray.train.torch.get_device())
    else:
        device = "cpu"
        torch.set_num_threads(max(1, int(how["cpus"])))
    place = ProcessConfig(
        rank=context.get_world_rank(),
        workers=context.get_world_size(),
        device=device,
        zero=how["zero"],
        offload=how["offload"],
        gradient_checkpointing=how["gradient_checkpointing"],
        max_tokens_per_microbatch=how["max_tokens_per_microbatch"] or MICRO_TOKENS[device.partition(":")[0]],
    )
    with PreemptionNotice() as notice, tempfile.TemporaryDirectory(prefix="offmodel-train-") as scratch:
        if elsewhere is not None:
            work = replace(work, out=Path(scratch, "out"))
            work.out.mkdir()
        surroundings = TrainingAdapter(work, Path(scratch))
        figures = loop.train(surroundings.job(), place, surroundings.host(notice, place))
        if place.rank == 0:
            (work.out / FIGURES).write_text(json.dumps(figures))
            if elsewhere is not None:
                work.store.publish_temporary(work.out, elsewhere)
    ray.train.report({"loss": figures["last_loss"]})


@dataclass(frozen=True)
class TrainingAdapter:
    """A stage's training as the trainer's callbacks. `scratch` is a folder of this process."""

    work: StageContext
    scratch: Path

    def job(self) -> TrainJob:
        work, inputs = self.work, self.work.stage.inputs
        start = None
        if "start" in inputs:
            adapter = work.stage.settings["tuning"] == "lora"
            start = work.folder("start") if adapter else Path(checkpoint_of(work.store, inputs["start"].address))
        teacher = checkpoint_of(work.store, inputs["teacher"].address) if "teacher" in inputs else None
        return TrainJob(
            checkpoint_of(work.store, inputs["base"].address),
            [Example(chat) for chat in self._chats()],
            settings_of(work.stage.settings),
            work.out,
            start,
            teacher,
        )

    def host(self, notice: PreemptionNotice, place: ProcessConfig) -> Callbacks:
        work, runtime = self.work, self.work.stage.runtime
        graded = "rl_problems" in work.stage.settings

        kept = work.store.load_state(work.stage, self.scratch / "state")
        if place.rank == 0:
            # Processes that were lost may have got further than their state, and those after them write here too.
            (work.out / STEPS).unlink(missing_ok=True)
            if kept is not None:
                shutil.copyfile(kept / STEPS, work.out / STEPS)

        def keep(folder: Path) -> None:
            shutil.copyfile(work.out / STEPS, folder / STEPS)
            work.store.save_state(work.stage, folder)
            notice.exit_if_requested()

        return Callbacks(
            report=self._report,
            save_checkpoint=self._leave,
            checkpoint_steps=runtime["checkpoints"],
            resume_from=kept,
            save_state=keep,
            save_every_seconds=runtime["place"]["save_every_seconds"],
            preemption_requested=notice.requested,
            generate=self._sample,
            reward=self._reward if graded else None,
            kl_every_steps=runtime["kl_every"],
        )

    def _chats(self) -> list[Chat]:
        work, settings = self.work, self.work.stage.settings
        if "rl_problems" in settings:
            problems = Problems(**work.stage.runtime["rl_problems"])
            return chats_of(problems.kind, self._problems, problems.prompt, problems.system)
        if "prompts" in settings:
            chats = data.load_prompts(Prompts(**work.stage.runtime["prompts"]))
        else:
            chats = [row.chat for row in rows_of(work.folder("data"))]
        return choose(chats, settings["rows"], settings["seed"])

    def _report(self, metrics: dict) -> None:
        with open(self.work.out / STEPS, "a") as file:  # As it goes, so that it can be watched.
            file.write(json.dumps(metrics) + "\n")

    def _leave(self, step: int, folder: Path) -> None:
        work = self.work
        left = stage_of.stopped(work.stage, step)
        attempt = uuid.uuid4().hex[:8]
        out, counts = work.store.new_folder(left, attempt), False
        try:
            shutil.copytree(folder, out, dirs_exist_ok=True)
            weights = "adapter" if work.stage.settings["tuning"] == "lora" else "checkpoint"
            counts = work.publish(left, out, attempt, time.time(), {"weights": weights, "steps": step})
        finally:
            if not (counts and work.store.is_local):  # An earlier attempt may have left the same.
                shutil.rmtree(out, ignore_errors=True)

    def _sample(self, folder: Path, step: int, prompts: list[Chat]) -> list[RequestOutput]:
        work, settings = self.work, self.work.stage.settings
        how = settings.get("rl_problems") or settings["sampling_params"]
        train = settings_of(settings)
        sampling = objectives.get(train.objective).sampling(train.objective_options)
        sampling_params = SamplingParams(
            max_tokens=how["max_tokens"],
            temperature=sampling.temperature,
            n=sampling.num_generations,
            # Each step draws anew; requests of one step have seeds of their own.
            seed=settings["seed"] * 1_000_003 + step,
            thinking=how["thinking"],
        )
        requests = [Request(prompt=prompt, number=number) for number, prompt in enumerate(prompts)]
        base = work.stage.inputs["base"].address
        adapter = settings["tuning"] == "lora"
        place = work.store.publish_temporary(folder, work.store.temporary_path(work.stage))
        try:
            weights = Weights(base, place, temporary=True) if adapter else Weights(place, None, temporary=True)
            if adapter and step == 0 and "start" not in work.stage.inputs:
                weights = Weights(base, None)  # A new adapter changes nothing, and an engine that sees that objects.
            found: dict[int, Any] = {}
            for chunk in work.engines(work.stage.runtime["engine"], weights, "generate", requests, sampling_params):
                found |= dict(chunk)
        finally:
            work.store.delete_temporary(place)
        return [found[i] for i in range(len(requests))]

    @cached_property
    def _problems(self) -> list[dict]:
        return data.load_problems(Problems(**self.work.stage.runtime["rl_problems"]))

    def _reward(self, numbers: Sequence[int], replies: Sequence[RequestOutput]) -> list[list[float]]:
        kind, rows = self.work.stage.settings["rl_problems"]["kind"], [self._problems[number] for number in numbers]
        ids = example_ids(kind, rows)
        answered = [Generation.of(id, [], reply) for id, reply in zip(ids, replies, strict=True)]
        return [[verdict.score for verdict in one.verdicts] for one in grade(kind, rows, answered)]


def settings_of(settings: Any) -> TrainSettings:
    """The trainer's settings, of a stage's."""
    kind, options = settings["objective"]["kind"], dict(settings["objective"])
    del options["kind"]
    return TrainSettings(
        **{key: value for key, value in settings.items() if key not in NOT_SETTINGS},
        lora=Lora(settings["lora_r"], settings["lora_alpha"]) if settings["tuning"] == "lora" else None,
        objective=kind,
        options=objectives.get(kind).options(**options),
    )


def choose(chats: list, rows: int | None, seed: int) -> list:
    """That many of the chats, in an order drawn from the seed. Raises ValueError where there are fewer."""
    if rows is None:
        return chats
    if rows > len(chats):
        raise ValueError(
            f"a budget of {rows} samples needs more than the {len(chats)} answers that ended by themselves"
        )
    return random.Random(f"budget {seed}").sample(chats, len(chats))[:rows]
