"""The student in training: it takes a step on rows, and is measured, saved and restored."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import compress
from pathlib import Path
from typing import Any

import torch

from trainers import objectives, state
from trainers.batches import Batch, collate, microbatches
from trainers.job import ProcessConfig, TrainJob
from trainers.lora import merge_layers
from trainers.losses import Tokens, divergence, kl, log_prob
from trainers.model import try_packing
from trainers.parallel import DDPEngine, ZeroEngine, zero_config
from trainers.reference import FrozenReference, SelfReference, copy_for_reference
from trainers.rows import Row
from trainers.student import check_same_tokens, check_vocabulary, load_model, load_student, save_student


class Learner:
    """A student with its optimiser and the reference model of its objective.

    Rows have at most `longest` tokens. `watch_base` loads what `kl_to_base` needs.
    """

    def __init__(self, job: TrainJob, tokenizer: Any, process: ProcessConfig, longest: int, watch_base: bool):
        self._job, self._process, self._settings, self._tokenizer = job, process, job.settings, tokenizer
        self._longest = longest
        self._objective, self._options = objectives.get(job.settings.objective), job.settings.objective_options
        pad = tokenizer.pad_token_id
        self._pad_id = pad if pad is not None else tokenizer.eos_token_id or 0  # No supervised token sees padding.
        if process.zero == 3:
            from transformers.integrations import HfDeepSpeedConfig

            # While this object lives, transformers loads weights sharded; without it every process loads all of them.
            self._zero_config = HfDeepSpeedConfig(zero_config(job.settings, process))
        model = self._load()
        check_vocabulary(tokenizer, model, job.checkpoint)
        if process.gradient_checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
            model.enable_input_require_grads()
        needed = self._objective.reference(self._options)
        kind = needed.model if needed is not None else None
        copied = self._frozen(copy_for_reference(model, process, self._load)) if kind in ("frozen", "ema") else None
        self.engine = (ZeroEngine if process.zero else DDPEngine)(model, job.settings, process)
        self._device = torch.device(process.device)
        try_packing(self.engine.student, self.engine.forward, longest, self._pad_id, self._device)
        self._live = SelfReference(self.engine, adapter_off=False)
        columns = self._objective.logprob_columns(self._options, job.settings.steps_per_generation)
        needs_base = watch_base or kind == "base" or "base_logprob" in columns
        self._base = self._load_base() if needs_base else None
        self._reference: FrozenReference | SelfReference | None = {
            "base": self._base,
            "frozen": copied,
            "ema": copied,
            "live": self._live,
            "teacher": self._load_teacher() if kind == "teacher" else None,
        }.get(kind or "")
        self._ema = copied if kind == "ema" else None
        self._ema_rate = needed.ema_rate if needed is not None else 0.0

    def _load(self) -> Any:
        job = self._job
        start = job.start if job.settings.lora else None
        model = load_student(job.checkpoint, start, job.settings.lora, job.settings.dtype, job.settings.seed)
        if job.settings.lora is not None and self._process.zero < 3:
            merge_layers(model)
        return model

    def _frozen(self, model: Any) -> FrozenReference:
        return FrozenReference(model, self._settings.dtype, self._process, self._longest, self._pad_id)

    def _load_teacher(self) -> FrozenReference:
        assert self._job.teacher is not None, f"{self._settings.objective} needs TrainJob(teacher=...)"
        check_same_tokens(self._tokenizer, self._job.teacher)
        return self._frozen(load_model(self._job.teacher, self._settings.dtype))

    def _load_base(self) -> FrozenReference | SelfReference:
        if self._settings.lora is not None:
            return SelfReference(self.engine, adapter_off=True)
        return self._frozen(load_model(self._job.base, self._settings.dtype))

    @property
    def packed(self) -> bool:
        """Whether the rows of a micro-batch are packed into one sequence."""
        return self.engine.student.packed

    def step(self, rows: Sequence[Row], learning_rate: float) -> tuple[float, float]:
        """Take a step on rows; returns its loss and the norm of its gradient. Either may not be finite."""
        reference = self._reference
        supervised = sum(len(row.supervised) for row in rows)
        loss = torch.zeros((), device=self._device)
        shares = self._microbatches(rows)
        for i, (_, group) in enumerate(shares):
            batch = self._collate(group, self.packed)
            weights_T = self._weights(group, len(rows), supervised)[batch.rows_T]
            seen = None
            if reference is not None:
                seen = reference.logits(self._collate([row.reference or row for row in group], reference.packed))
            loss += self.engine.backward(batch, self._loss(batch, weights_T, seen), last=i == len(shares) - 1)
        (total,) = self._sum(float(loss))
        return total, self.engine.step(learning_rate) if math.isfinite(total) else math.nan

    def _loss(self, batch: Batch, weights_T: Any, reference_T_V: Any) -> Callable:
        def loss(logits_T_V):
            tokens = Tokens(logits_T_V, batch.targets_T, reference_T_V, batch.columns)
            return (self._objective.token_loss(tokens, self._options) * weights_T).sum()

        return loss

    def _weights(self, rows: Sequence[Row], rows_in_step: int, supervised: int) -> Any:
        """The share of the step's loss that each token of a row has, of shape (R,)."""
        if self._objective.mean_over == "tokens":
            shares = [row.weight / supervised for row in rows]
        else:
            shares = [row.weight / rows_in_step / len(row.supervised) for row in rows]
        return torch.tensor(shares, device=self._device)

    def update_reference(self) -> None:
        """Update the moving average of the student after a step, if it is the reference model."""
        if self._ema is not None:
            self._ema.ema_update(self.engine, self._ema_rate)

    def log_probs(self, rows: Sequence[Row], of_base: bool = False) -> list[list[float]]:
        """The log-probability of every supervised token under the student (or the base student), in nats, at the
        objective's sampling temperature."""
        model = self._base if of_base else self._live
        assert model is not None
        temperature = self._objective.sampling(self._options).temperature
        found: dict[int, list[float]] = {}
        for share, group in self._microbatches(rows):
            batch = self._collate(group, model.packed)
            logp = log_prob(model.logits(batch) / temperature, batch.targets_T).tolist()
            for place, row in zip(share, group, strict=False):
                found[place], logp = logp[: len(row.supervised)], logp[len(row.supervised) :]
        parts: list[Any] = [found]
        if self._process.workers > 1:
            parts = [None] * self._process.workers
            torch.distributed.all_gather_object(parts, found)
        merged = {place: values for part in parts for place, values in part.items()}
        return [merged[i] for i in range(len(rows))]

    def kl_to_base(self, rows: Sequence[Row]) -> float:
        """KL(student || base student) in nats per token, on the supervised tokens of the first micro-batch."""
        assert self._base is not None
        share, group = self._microbatches(rows)[0]
        student_T_V = self._live.logits(self._collate(group, self.packed))
        kl_T = divergence(student_T_V, self._base.logits(self._collate(group, self._base.packed)), kl)
        total, tokens = self._sum(float(kl_T.sum()) if share else 0.0, len(kl_T) if share else 0)
        return total / tokens

    def _microbatches(self, rows: Sequence[Row]) -> list[tuple[list[int], list[Row]]]:
        """The micro-batches of this process, as indices of rows and these rows.

        All processes make the same number of passes: a micro-batch without rows repeats a row with weight 0.
        """
        lengths = [max(len(row.ids), len(row.reference.ids) if row.reference else 0) for row in rows]
        limit = self._process.max_tokens_per_microbatch
        shares = microbatches(lengths, self._process.workers, limit, self.packed)[self._process.rank]
        return [(share, [rows[place] for place in share] or [replace(rows[0], weight=0.0)]) for share in shares]

    def _collate(self, rows: Sequence[Row], packed: bool) -> Batch:
        return collate(rows, self._pad_id, packed, self._device)

    def _sum(self, *values: float) -> list[float]:
        """The sums over all processes."""
        if self._process.workers == 1:
            return list(values)
        sums = torch.tensor(values, dtype=torch.float64, device=self._device)
        torch.distributed.all_reduce(sums)
        return sums.tolist()

    def any(self, here: bool) -> bool:
        """Whether it holds in any process. All processes must call it."""
        return self._sum(float(here))[0] > 0

    def save_weights(self, folder: Path) -> None:
        """Write the student's adapter or checkpoint. All processes must call it."""
        whole = self._on_rank_0(self.engine.weights())
        if self._process.rank == 0:
            save_student(self.engine.student.model, self._tokenizer, whole, self._settings.dtype, folder)
        self._barrier()

    def save_state(self, folder: Path, progress: dict[str, Any]) -> None:
        """Write all that is needed to resume from here. All processes must call it."""
        parts: dict[str, Iterable] = {"weights": self.engine.weights()}
        parts |= {moment: self.engine.moments(moment) for moment in state.MOMENTS}
        if self._ema is not None:
            parts["average"] = self._ema.averages()
        for part, tensors in parts.items():
            whole = self._on_rank_0(tensors)
            if self._process.rank == 0:
                state.save_part(folder, part, whole)
        if self._process.rank == 0:
            state.save_progress(folder, progress)
        self._barrier()

    def load_state(self, folder: Path) -> dict[str, Any]:
        """Restore what `save_state` wrote; returns the progress."""
        progress = state.load_progress(folder)
        if self._process.zero:
            self._make_optimizer_state()
        moments = {moment: state.load_part(folder, moment) for moment in state.MOMENTS}
        self.engine.restore(state.load_part(folder, "weights"), moments, progress["step"])
        if self._ema is not None:
            self._ema.restore(state.load_part(folder, "average"))
        return progress

    def _make_optimizer_state(self) -> None:
        # DeepSpeed makes its optimiser state in the first step: take one that changes nothing.
        row = Row([0, 0], [1], weight=0.0)
        batch = self._collate([row], self.packed)
        self.engine.backward(batch, lambda logits_T_V: logits_T_V.sum() * 0, last=True)
        self.engine.step(0.0)

    def _on_rank_0(self, tensors: Iterable[tuple[str, Any]]) -> dict[str, Any]:
        """Whole tensors in the CPU memory of rank 0. The other processes take part in gathering them, and get none."""
        return {name: tensor.cpu().contiguous() for name, tensor in tensors if self._process.rank == 0}

    def _barrier(self) -> None:
        if self._process.workers > 1:
            torch.distributed.barrier()


def drop_least_likely(rows: Sequence[Row], log_probs: list[list[float]], share: float) -> list[Row]:
    """The rows without supervision of the share of all supervised tokens with the lowest log-probabilities. Rows
    without a supervised token are left out."""
    likelihoods = torch.tensor([value for each in log_probs for value in each])
    drop = torch.zeros(len(likelihoods), dtype=torch.bool)
    drop[likelihoods.argsort(stable=True)[: int(share * len(likelihoods))]] = True
    kept, at = [], 0
    for row in rows:
        stays = (~drop[at : at + len(row.supervised)]).tolist()
        at += len(row.supervised)
        kept.append(replace(row, supervised=list(compress(row.supervised, stays))))
    return [row for row in kept if row.supervised]
