"""The training loop: one for every objective, on one process or many."""

import math
import resource
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from trainers import objectives
from trainers.batches import row_order
from trainers.job import TrainJob
from trainers.place import Callbacks, ProcessConfig
from trainers.rollouts import Sampled, sampled_steps
from trainers.settings import TrainSettings
from trainers.tokens import Row, streams, tokenize

NO_ROWS = "there are no rows to train on: every answer may have been cut off; raise sampling.max_tokens"


def train(job: TrainJob, place: ProcessConfig | None = None, host: Callbacks | None = None) -> dict[str, Any]:
    """Fine-tune a student and save it into `job.out`; returns the run's figures. Every process of a training calls it.

    Raises ValueError for rows, weights and settings that cannot be used, and FloatingPointError, with the step, its
    rows and the settings, for a loss or a gradient that is not finite.
    """
    import torch
    from transformers import AutoTokenizer

    place, host, settings = place or ProcessConfig(), host or Callbacks(), job.settings
    if not job.examples:
        raise ValueError(NO_ROWS)
    if settings.lora is None and job.start is not None and (job.start / "adapter_config.json").is_file():
        raise ValueError("full-weight training cannot start from a LoRA adapter: merge it into a checkpoint first")
    tokenizer = AutoTokenizer.from_pretrained(job.checkpoint)
    on_policy = settings.objective in objectives.ON_POLICY
    rows: list[Row] = []
    if settings.objective == "lm":
        rows = streams(job.examples, tokenizer, settings.max_length)
    elif not on_policy:
        rows = tokenize(job.examples, tokenizer, settings.max_length, settings.loss_on)

    from trainers.learner import Learner, clipped

    longest = max((len(row.ids) for row in rows), default=settings.max_length)
    learner = Learner(job, tokenizer, place, longest, watch_base=host.kl_every > 0)
    supervised = sum(len(row.supervised) for row in rows)
    if settings.drop_least_likely:
        rows = clipped(rows, learner.log_probs(rows), settings.drop_least_likely)
    total = settings.steps(len(job.examples) if on_policy else len(rows))
    end = settings.stop_after or total
    late = [step for step in (*host.checkpoints, end) if step > total]
    if late:
        raise ValueError(f"the training has {total} steps, but is to be measured at step {late[0]}: leave that out")
    done: dict[str, Any] = {"step": 0, "losses": [], "tokens": 0, "seconds": 0.0}
    if host.resume is not None:
        done = learner.load_state(host.resume)
    steps = range(done["step"], end)
    if on_policy:
        batches = sampled_steps(job, steps, total, tokenizer, place, host, learner)
    else:
        batches = _fixed(rows, settings, steps, total)
    began = kept = time.monotonic()
    warned = False

    for step, batch in zip(steps, batches, strict=True):
        at = time.monotonic()
        torch.manual_seed(settings.seed * 1_000_003 + step * place.workers + place.rank)
        rate = settings.learning_rate * _rate(step, total, settings)
        loss, norm = learner.learn(batch.rows, rate)
        for what, figure in (("loss", loss), ("norm of the gradient", norm)):
            if not math.isfinite(figure):
                raise FloatingPointError(f"the {what} is {figure} at step {step} ({batch.name}) with {settings}")
        learner.after_step()
        tokens = sum(len(row.supervised) for row in batch.rows)
        done["losses"].append(loss)
        done["tokens"] += tokens
        done["step"] = step + 1
        seen = sum(len(row.ids) for row in batch.rows)
        facts = {
            "step": step,
            "loss": loss,
            "grad_norm": norm,
            "learning_rate": rate,
            "tokens_per_second": seen / (time.monotonic() - at),
            "supervised_share": tokens / seen,
            "peak_memory": peak_memory(place),
            **batch.facts,
        }
        if host.kl_every and (step % host.kl_every == 0 or step + 1 == end):
            facts["kl_to_base"] = learner.kl_to_base(batch.rows)
        if place.rank == 0:
            host.report(facts)
        if step + 1 in host.checkpoints:
            _leave(learner, step + 1, place, host)
        urgent = learner.any(host.urgent()) and not warned
        due = learner.any(place.rank == 0 and time.monotonic() - kept > host.save_every_seconds)
        if (urgent or due) and step + 1 < end:
            warned = warned or urgent
            _keep(learner, {**done, "seconds": done["seconds"] + time.monotonic() - began}, place, host)
            kept = time.monotonic()

    learner.save_weights(job.out)
    return {
        "steps": end,
        "rows": len(job.examples),
        "tokens": done["tokens"],
        "seconds": done["seconds"] + time.monotonic() - began,
        "packed": learner.packed,
        "first_loss": done["losses"][0],
        "last_loss": done["losses"][-1],
        "losses": done["losses"],
        **(
            {"clipped": 1 - sum(len(row.supervised) for row in rows) / supervised} if settings.drop_least_likely else {}
        ),
    }


def _fixed(rows: list[Row], settings: TrainSettings, steps: range, total: int) -> Iterator[Sampled]:
    order = row_order(len(rows), settings.batch_size, total, settings.seed, settings.order)
    for numbers in islice(order, steps.start, steps.stop):
        yield Sampled([rows[i] for i in numbers], f"rows {numbers}", {})


def _leave(learner: Any, step: int, place: ProcessConfig, host: Callbacks) -> None:
    with tempfile.TemporaryDirectory(prefix="offmodel-checkpoint-") as scratch:
        learner.save_weights(Path(scratch))
        if place.rank == 0:
            host.leave(step, Path(scratch))


def _keep(learner: Any, progress: dict[str, Any], place: ProcessConfig, host: Callbacks) -> None:
    with tempfile.TemporaryDirectory(prefix="offmodel-state-") as scratch:
        learner.save_state(Path(scratch), progress)
        if place.rank == 0:
            host.keep(Path(scratch))


def peak_memory(place: ProcessConfig) -> int:
    """The most memory in bytes that this process has had: the GPU's, or the machine's where there is none."""
    import torch

    if place.device.startswith("cuda"):
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB.


def _rate(step: int, steps: int, settings: TrainSettings) -> float:
    """The learning rate at a step as a share of the peak: linear warm-up, then the schedule towards 0."""
    warmup = round(settings.warmup_ratio * steps)
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return {"constant": 1.0, "linear": 1.0 - done, "cosine": 0.5 * (1 + math.cos(math.pi * done))}[
        settings.lr_scheduler_type
    ]
