"""The stage `train` on Ray Train: its processes, retries, and how they use the store and the engines."""

import json
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.stages.preemption import PreemptionNotice
from orchestrator.stages.retries import Retries
from orchestrator.stages.train import RLProblems
from orchestrator.stages.training import artifacts, examples, rollouts
from orchestrator.store.context import StageContext
from orchestrator.store.leases import LeaseLost
from orchestrator.store.partial import load_state
from orchestrator.store.temporary import fetch_temporary, publish_temporary, temporary_path
from trainers.job import Callbacks, ProcessConfig
from trainers.scratch import scratch_folder

FIGURES = "training.json"
MICROBATCH_TOKENS = {"cuda": 16384, "cpu": 4096}  # On a CPU larger micro-batches do not fit its caches.
PERMANENT = (ValueError, ArithmeticError, AssertionError, LeaseLost)  # errors that a retry would repeat


def run(context: StageContext) -> dict[str, Any]:
    """Train the stage's student into `context.out`; returns the facts for the record."""
    one_process, store = context.stage.runtime.one_process, context.store
    # The process of rank 0 may run on another machine, and then returns its files through the store.
    returned = None if one_process or store.is_local else temporary_path(context.stage)
    retries = Retries(store, context.stage)
    while not _fit(context, returned, retries):
        pass
    if returned is not None:
        fetch_temporary(store, returned, context.out)
    figures = json.loads((context.out / FIGURES).read_text())
    return {key: value for key, value in figures.items() if key != "losses"}


def _fit(context: StageContext, returned: str | None, retries: Retries) -> bool:
    """Train once; returns whether it succeeded. Raises the cause of a failure that is not to be retried."""
    import ray.train
    from ray.train.torch import TorchTrainer

    resources, one_process = context.stage.runtime.resources, context.stage.runtime.one_process
    with scratch_folder() as scratch:
        trainer = TorchTrainer(
            _train_in_worker,
            train_loop_config={"context": context, "returned": returned},
            # One process is Ray Train's local mode: it trains in this process, which holds the stage's resources.
            scaling_config=ray.train.ScalingConfig(
                num_workers=0 if one_process else resources.workers,
                use_gpu=resources.gpus > 0,
                resources_per_worker=None if one_process else {"CPU": resources.cpus, "GPU": resources.gpus},
            ),
            run_config=ray.train.RunConfig(name=context.stage.fingerprint[:10], storage_path=str(scratch)),
        )
        try:
            trainer.fit()
        except (ray.train.WorkerGroupError, ray.train.ControllerError) as error:
            lost = isinstance(error, ray.train.WorkerGroupError)
            cause = _cause(error.worker_failures.values() if lost else [error.controller_failure])
            # Processes that lose another one fail with whatever error their next exchange with it raises.
            if isinstance(cause, PERMANENT) or not retries.again():
                raise cause from error
            return False
    return True


def _cause(failures: Iterable[Exception]) -> Exception:
    """The cause among the failures of several processes: a permanent error rather than the loss of a process."""
    found = [getattr(failure, "_base_exc", failure) for failure in failures]
    return next((one for one in found if isinstance(one, PERMANENT)), found[0])


def _train_in_worker(config: dict[str, Any]) -> None:
    """The work of each process of a training."""
    import ray.train

    from trainers import loop

    context: StageContext = config["context"]
    returned: str | None = config["returned"]
    process = _process(context)
    with PreemptionNotice() as notice, scratch_folder() as scratch:
        if returned is not None:
            context = replace(context, out=scratch / "out")
            context.out.mkdir()
        callbacks = _callbacks(context, notice, process, scratch / "state")
        figures = loop.train(examples.train_job(context), process, callbacks)
        if process.rank == 0:
            (context.out / FIGURES).write_text(json.dumps(figures))
            if returned is not None:
                publish_temporary(context.store, context.out, returned)
    ray.train.report({"loss": figures["last_loss"]})


def _process(context: StageContext) -> ProcessConfig:
    """The configuration of this process of a training."""
    import ray.train
    import ray.train.torch
    import torch

    resources, here = context.stage.runtime.resources, ray.train.get_context()
    device = "cpu"
    if resources.gpus:
        device = str(ray.train.torch.get_device())
    else:
        torch.set_num_threads(max(1, int(resources.cpus)))
    return ProcessConfig(
        rank=here.get_world_rank(),
        workers=here.get_world_size(),
        device=device,
        zero=resources.zero,
        offload=resources.offload,
        gradient_checkpointing=resources.gradient_checkpointing,
        max_tokens_per_microbatch=resources.max_tokens_per_microbatch or MICROBATCH_TOKENS[device.partition(":")[0]],
    )


def _callbacks(context: StageContext, notice: PreemptionNotice, process: ProcessConfig, scratch: Path) -> Callbacks:
    """The stage's side of a training. `scratch` is a folder of this process for the state to resume from."""
    runtime = context.stage.runtime
    state = load_state(context.store, context.stage, scratch)
    if process.rank == 0:
        artifacts.restore_metrics(context, state)

    def save_state(folder: Path) -> None:
        artifacts.save_state(context, folder)
        notice.exit_if_requested()

    return Callbacks(
        report=partial(artifacts.append_metrics, context),
        advance=context.advance,
        save_checkpoint=partial(artifacts.publish_checkpoint, context),
        checkpoint_steps=runtime.checkpoints,
        resume_from=state,
        save_state=save_state,
        save_every_seconds=runtime.resources.save_every_seconds,
        preemption_requested=notice.requested,
        generate=partial(rollouts.generate, context),
        reward=rollouts.rewarding(context) if isinstance(context.stage.settings.examples, RLProblems) else None,
        kl_every_steps=runtime.kl_every_steps,
    )
