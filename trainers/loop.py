"""The training loop: one for every objective, on one process or many."""

import math
import resource
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

import torch
from transformers import AutoTokenizer

from trainers import objectives
from trainers.batches import StepBatch, row_order
from trainers.job import Callbacks, ProcessConfig, TrainJob
from trainers.learner import Learner, drop_least_likely
from trainers.rollouts import RolloutSampler
from trainers.rows import Row
from trainers.saving import seconds_between_saves
from trainers.scratch import scratch_folder
from trainers.settings import TrainSettings
from trainers.tokenization import tokenize, tokenize_streams

NO_ROWS = "there are no rows to train on: every answer may have been truncated; raise sampling.max_tokens"


@dataclass
class Progress:
    """What a training has done so far, over all attempts."""

    step: int = 0
    losses: list[float] = field(default_factory=list)
    tokens: int = 0
    seconds: float = 0.0  # of earlier attempts


def train(job: TrainJob, process: ProcessConfig | None = None, callbacks: Callbacks | None = None) -> dict[str, Any]:
    """Fine-tune a student and save it into `job.out`; returns figures of the training. Every process calls it.

    Raises ValueError for rows, weights and settings that cannot be used. Raises FloatingPointError for a loss or a
    gradient that is not finite, with the step, its rows and the settings.
    """
    process, callbacks, settings = process or ProcessConfig(), callbacks or Callbacks(), job.settings
    _check(job)
    tokenizer = AutoTokenizer.from_pretrained(job.checkpoint)
    rows = _tokenize(job, tokenizer)
    longest = max((len(row.ids) for row in rows), default=settings.max_length)
    learner = Learner(job, tokenizer, process, longest, watch_base=callbacks.kl_every_steps > 0)
    dropped = {}
    if settings.drop_least_likely:
        before = _supervised(rows)
        rows = drop_least_likely(rows, learner.log_probs(rows), settings.drop_least_likely)
        dropped = {"dropped_share": 1 - _supervised(rows) / before}
    total = settings.steps(len(rows or job.examples))
    end = settings.stop_after or total
    _check_steps((*callbacks.checkpoint_steps, end), total)

    progress = Progress()
    if callbacks.resume_from is not None:
        progress = Progress(**learner.load_state(callbacks.resume_from))
    steps = range(progress.step, end)
    if objectives.get(settings.objective).on_policy:
        batches = RolloutSampler(job, tokenizer, process, callbacks, learner).batches(steps, total)
    else:
        batches = _batches(rows, settings, steps, total)
    saver = _StateSaver(learner, process, callbacks)
    for step, batch in zip(steps, batches, strict=True):
        metrics = _train_step(learner, step, total, batch, settings, process)
        progress.step = step + 1
        progress.losses.append(metrics["loss"])
        progress.tokens += _supervised(batch.rows)
        if callbacks.kl_every_steps and (step % callbacks.kl_every_steps == 0 or step + 1 == end):
            metrics["kl_to_base"] = learner.kl_to_base(batch.rows)
        if process.rank == 0:
            callbacks.report(metrics)
            callbacks.advance(step + 1, end)
        if step + 1 in callbacks.checkpoint_steps:
            _save_checkpoint(learner, step + 1, process, callbacks)
        if step + 1 < end:
            saver.save_if_due(progress)

    learner.save_weights(job.out)
    return {
        "steps": end,
        "rows": len(job.examples),
        "tokens": progress.tokens,
        "seconds": progress.seconds + saver.elapsed(),
        "packed": learner.packed,
        "first_loss": progress.losses[0],
        "last_loss": progress.losses[-1],
        "losses": progress.losses,
        **dropped,
    }


def _check(job: TrainJob) -> None:
    if not job.examples:
        raise ValueError(NO_ROWS)
    if job.settings.lora is None and job.start is not None and (job.start / "adapter_config.json").is_file():
        raise ValueError("full-weight training cannot start from a LoRA adapter: merge it into a checkpoint first")


def _check_steps(wanted: tuple[int, ...], total: int) -> None:
    late = [step for step in wanted if step > total]
    if late:
        raise ValueError(f"the training has {total} steps, but is to be measured at step {late[0]}: leave that out")


def _tokenize(job: TrainJob, tokenizer: Any) -> list[Row]:
    """The rows of the examples; none where the student samples its own."""
    settings = job.settings
    objective = objectives.get(settings.objective)
    if objective.on_policy:
        return []
    if objective.data == "token_streams":
        return tokenize_streams(job.examples, tokenizer, settings.max_length)
    return tokenize(job.examples, tokenizer, settings.max_length, settings.loss_on)


def _batches(rows: list[Row], settings: TrainSettings, steps: range, total: int) -> Iterator[StepBatch]:
    order = row_order(len(rows), settings.batch_size, total, settings.seed, settings.order)
    for numbers in islice(order, steps.start, steps.stop):
        yield StepBatch([rows[i] for i in numbers], f"rows {numbers}", {})


def _train_step(
    learner: Learner, step: int, total: int, batch: StepBatch, settings: TrainSettings, process: ProcessConfig
) -> dict[str, float]:
    """Take one step; returns its metrics. Raises FloatingPointError for a loss or a gradient that is not finite."""
    began = time.monotonic()
    torch.manual_seed(settings.seed * 1_000_003 + step * process.workers + process.rank)
    learning_rate = settings.rate(step, total)
    loss, norm = learner.step(batch.rows, learning_rate)
    for what, figure in (("loss", loss), ("norm of the gradient", norm)):
        if not math.isfinite(figure):
            raise FloatingPointError(f"the {what} is {figure} at step {step} ({batch.name}) with {settings}")
    learner.update_reference()
    tokens = sum(len(row.ids) for row in batch.rows)
    return {
        "step": step,
        "loss": loss,
        "grad_norm": norm,
        "learning_rate": learning_rate,
        "tokens_per_second": tokens / (time.monotonic() - began),
        "supervised_share": _supervised(batch.rows) / tokens,
        "peak_memory": peak_memory(process),
        **batch.metrics,
    }


def _supervised(rows: list[Row]) -> int:
    return sum(len(row.supervised) for row in rows)


def _save_checkpoint(learner: Learner, step: int, process: ProcessConfig, callbacks: Callbacks) -> None:
    with scratch_folder() as scratch:
        learner.save_weights(scratch)
        if process.rank == 0:
            callbacks.save_checkpoint(step, scratch)


class _StateSaver:
    """Saves resumable states: every `save_every_seconds`, less often if saves take long, and once after preemption is
    requested."""

    def __init__(self, learner: Learner, process: ProcessConfig, callbacks: Callbacks):
        self._learner, self._process, self._callbacks = learner, process, callbacks
        self._began = self._saved = time.monotonic()
        self._preempted, self._save_seconds = False, 0.0

    def elapsed(self) -> float:
        """Seconds of this attempt."""
        return time.monotonic() - self._began

    def save_if_due(self, progress: Progress) -> None:
        # All processes must decide alike, since all of them take part in saving.
        preempted = self._learner.any(self._callbacks.preemption_requested()) and not self._preempted
        apart = seconds_between_saves(self._callbacks.save_every_seconds, self._save_seconds)
        overdue = time.monotonic() - self._saved > apart
        overdue = self._learner.any(self._process.rank == 0 and overdue)
        if not (preempted or overdue):
            return
        self._preempted = self._preempted or preempted
        state = asdict(progress) | {"seconds": progress.seconds + self.elapsed()}
        began = time.monotonic()
        with scratch_folder() as scratch:
            self._learner.save_state(scratch, state)
            if self._process.rank == 0:
                self._callbacks.save_state(scratch)
        self._saved = time.monotonic()
        self._save_seconds = self._saved - began


def peak_memory(process: ProcessConfig) -> int:
    """The peak memory of this process in bytes: of the GPU, or of the CPU where there is none."""
    if process.device.startswith("cuda"):
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB.
