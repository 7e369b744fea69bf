"""The student in training: rows in, a step of its weights out."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import compress
from pathlib import Path
from typing import Any

import torch

from trainers import objectives, state
from trainers.batches import Batch, collate, divide
from trainers.job import TrainJob
from trainers.lora import sum_layers
from trainers.model import try_packing
from trainers.objectives.divergence import divergence, kl
from trainers.objectives.tokens import Tokens, log_prob
from trainers.parallel import DDPEngine, ZeroEngine, zero_config
from trainers.place import ProcessConfig
from trainers.reference import FrozenReference, SelfReference, copy_for_reference
from trainers.student import check_same_tokens, check_vocabulary, load_model, load_student, save_student
from trainers.tokens import Row


class Learner:
    """A student with its optimiser and with whatever its objective compares it with.

    Rows have at most `longest` tokens. With `watch_base` it can also tell how far it is from the original student.
    """

    def __init__(self, job: TrainJob, tokenizer: Any, place: ProcessConfig, longest: int, watch_base: bool):
        self._job, self._place, self._settings, self._tokenizer = job, place, job.settings, tokenizer
        self._longest = longest
        self._objective = objectives.module(job.settings.objective)
        pad = tokenizer.pad_token_id
        self._pad_id = pad if pad is not None else tokenizer.eos_token_id or 0  # Nothing that counts ever sees it.
        if place.zero == 3:
            from transformers.integrations import HfDeepSpeedConfig

            # It must be there, and held on to, when weights are loaded: else every process loads all of them.
            self._zero_config = HfDeepSpeedConfig(zero_config(job.settings, place))
        model = self._load()
        check_vocabulary(tokenizer, model, job.checkpoint)
        if place.recompute:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
            model.enable_input_require_grads()
        self._teacher: FrozenReference | SelfReference | None = self._own_teacher(model)
        self.engine = (ZeroEngine if place.zero else DDPEngine)(model, job.settings, place)
        self._device = torch.device(place.device)
        try_packing(self.engine.student, self.engine.forward, longest, self._pad_id, self._device)
        penalised = job.settings.objective == "grpo" and job.settings.objective_options.beta
        needs_base = self._objective.REFERENCE == "base" or penalised
        self._base = self._original() if watch_base or needs_base else None
        if self._teacher is None and self._objective.REFERENCE == "teacher":
            self._teacher = self._teacher_of_job()

    def _load(self):
        job = self._job
        start = job.start if job.settings.lora else None
        model = load_student(job.checkpoint, start, job.settings.lora, job.settings.dtype, job.settings.seed)
        if job.settings.lora is not None and self._place.zero < 3:
            sum_layers(model)
        return model

    def _another(self, model) -> FrozenReference:
        return FrozenReference(model, self._settings.dtype, self._place, self._longest, self._pad_id)

    def _own_teacher(self, model) -> FrozenReference | None:
        """The student as it is before this training, where it is its own teacher, and not as it changes."""
        if self._settings.objective != "sdft" or self._settings.objective_options.teacher == "live":
            return None
        return self._another(copy_for_reference(model, self._place, self._load))

    def _teacher_of_job(self) -> FrozenReference | SelfReference:
        if self._settings.objective == "sdft":
            return SelfReference(self.engine, adapter_off=False)
        assert self._job.teacher is not None
        check_same_tokens(self._tokenizer, self._job.teacher)
        return self._another(load_model(self._job.teacher, self._settings.dtype))

    def _original(self) -> FrozenReference | SelfReference:
        if self._settings.lora is not None:
            return SelfReference(self.engine, adapter_off=True)
        return self._another(load_model(self._job.base, self._settings.dtype))

    @property
    def packed(self) -> bool:
        return self.engine.student.packed

    def learn(self, rows: Sequence[Row], rate: float) -> tuple[float, float]:
        """Take a step on rows; returns its loss and the norm of its gradient. The loss may not be finite."""
        reference = {None: None, "base": self._base, "teacher": self._teacher}[self._objective.REFERENCE]
        supervised = sum(len(row.supervised) for row in rows)
        loss = torch.zeros((), device=self._device)
        shares = self._mine(rows)
        for i, share in enumerate(shares):
            # Every process makes as many passes: one that has no rows left repeats one, at no weight.
            group = [rows[place] for place in share] or [replace(rows[0], weight=0.0)]
            batch = self._collate(group, self.packed)
            weights_T = self._weights(group, len(rows), supervised)[batch.rows_T]
            seen = None
            if reference is not None:
                seen = reference.logits(self._collate([row.reference or row for row in group], reference.packed))
            loss += self.engine.backward(batch, self._loss(batch, weights_T, seen), last=i == len(shares) - 1)
        (total,) = self._sum(float(loss))
        return total, self.engine.step(rate) if math.isfinite(total) else math.nan

    def _loss(self, batch: Batch, weights_T, seen) -> Callable:
        def loss(logits_T_V):
            tokens = Tokens(logits_T_V, batch.targets_T, seen, batch.columns)
            return (self._objective.token_loss(tokens, self._settings.objective_options) * weights_T).sum()

        return loss

    def _weights(self, rows: Sequence[Row], rows_in_step: int, supervised: int):
        """The share of a step's loss that each row's tokens have."""
        if self._objective.MEAN_OVER == "tokens":
            shares = [row.weight / supervised for row in rows]
        else:
            shares = [row.weight / rows_in_step / len(row.supervised) for row in rows]
        return torch.tensor(shares, device=self._device)

    def after_step(self) -> None:
        """Have a teacher that follows the student take its step."""
        if self._follows is not None:
            self._follows.follow(self.engine, self._settings.objective_options.ema_rate)

    @property
    def _follows(self) -> FrozenReference | None:
        if (
            isinstance(self._teacher, FrozenReference)
            and getattr(self._settings.objective_options, "teacher", None) == "ema"
        ):
            return self._teacher
        return None

    def log_probs(self, rows: Sequence[Row], of_base: bool = False) -> list[list[float]]:
        """The log-probability of every supervised token, under the student as it is or the original one, in nats, at
        the objective's temperature."""
        model = self._base if of_base else SelfReference(self.engine, adapter_off=False)
        assert model is not None
        temperature = getattr(self._settings.objective_options, "temperature", 1.0)
        found: dict[int, list[float]] = {}
        for share in self._mine(rows):
            group = [rows[place] for place in share] or [rows[0]]
            batch = self._collate(group, model.packed)
            logp = log_prob(model.logits(batch) / temperature, batch.targets_T).tolist()
            for place, row in zip(share, group, strict=False):
                found[place], logp = logp[: len(row.supervised)], logp[len(row.supervised) :]
        parts: list[Any] = [found]
        if self._place.workers > 1:
            parts = [None] * self._place.workers
            torch.distributed.all_gather_object(parts, found)
        merged = {place: values for part in parts for place, values in part.items()}
        return [merged[i] for i in range(len(rows))]

    def kl_to_base(self, rows: Sequence[Row]) -> float:
        """KL(student || original student) in nats a token, on the supervised tokens of one micro-batch."""
        assert self._base is not None
        share = self._mine(rows)[0]
        group = [rows[place] for place in share] or [rows[0]]
        ours = SelfReference(self.engine, adapter_off=False).logits(self._collate(group, self.packed))
        kl_T = divergence(ours, self._base.logits(self._collate(group, self._base.packed)), kl)
        total, tokens = self._sum(float(kl_T.sum()) if share else 0.0, len(kl_T) if share else 0)
        return total / tokens

    def _mine(self, rows: Sequence[Row]) -> list[list[int]]:
        lengths = [max(len(row.ids), len(row.reference.ids) if row.reference else 0) for row in rows]
        return divide(lengths, self._place.workers, self._place.max_tokens_per_microbatch, self.packed)[
            self._place.rank
        ]

    def _collate(self, rows: Sequence[Row], packed: bool) -> Batch:
        return collate(rows, self._pad_id, packed, self._device)

    def _sum(self, *values: float) -> list[float]:
        """The sums over all processes."""
        if self._place.workers == 1:
            return list(values)
        together = torch.tensor(values, dtype=torch.float64, device=self._device)
        torch.distributed.all_reduce(together)
        return together.tolist()

    def any(self, here: bool) -> bool:
        """Whether it is so in any process."""
        return self._sum(float(here))[0] > 0

    def save_weights(self, folder: Path) -> None:
        """Write the student as it is; all processes must take part."""
        whole = self._on_first(self.engine.weights())
        if self._place.rank == 0:
            save_student(self.engine.student.model, self._tokenizer, whole, self._settings.dtype, folder)
        self._wait()

    def save_state(self, folder: Path, progress: dict[str, Any]) -> None:
        """Write all that is needed to go on from here; all processes must take part."""
        parts: dict[str, Iterable] = {"weights": self.engine.weights()}
        parts |= {moment: self.engine.moments(moment) for moment in state.MOMENTS}
        if self._follows is not None:
            parts["average"] = self._follows.averages()
        for part, tensors in parts.items():
            whole = self._on_first(tensors)
            if self._place.rank == 0:
                state.save_part(folder, part, whole)
        if self._place.rank == 0:
            state.save_progress(folder, progress)
        self._wait()

    def load_state(self, folder: Path) -> dict[str, Any]:
        """Go on from what `save_state` wrote; returns the progress."""
        progress = state.load_progress(folder)
        if self._place.zero:
            self._make_optimiser_state()
        moments = {moment: state.load_part(folder, moment) for moment in state.MOMENTS}
        self.engine.restore(state.load_part(folder, "weights"), moments, progress["step"])
        if self._follows is not None:
            self._follows.restore(state.load_part(folder, "average"))
        return progress

    def _make_optimiser_state(self) -> None:
        # DeepSpeed makes it with the first step: one that changes nothing.
        row = Row([0, 0], [1], weight=0.0)
        batch = self._collate([row], self.packed)
        self.engine.backward(batch, lambda logits_T_V: logits_T_V.sum() * 0, last=True)
        self.engine.step(0.0)

    def _on_first(self, tensors: Iterable[tuple[str, Any]]) -> dict[str, Any]:
        """Whole tensors in the memory of the first process; the others only take part in putting them together."""
        return {name: tensor.cpu().contiguous() for name, tensor in tensors if self._place.rank == 0}

    def _wait(self) -> None:
        if self._place.workers > 1:
            torch.distributed.barrier()


def clipped(rows: Sequence[Row], log_probs: list[list[float]], share: float) -> list[Row]:
    """The rows without the supervision of that share of all supervised tokens which is least likely; rows that have
    none left are gone."""
    likelihoods = torch.tensor([value for each in log_probs for value in each])
    drop = torch.zeros(len(likelihoods), dtype=torch.bool)
    drop[likelihoods.argsort(stable=True)[: int(share * len(likelihoods))]] = True
    kept, at = [], 0
    for row in rows:
        stays = (~drop[at : at + len(row.supervised)]).tolist()
        at += len(row.supervised)
        kept.append(replace(row, supervised=list(compress(row.supervised, stays))))
    return [row for row in kept if row.supervised]
