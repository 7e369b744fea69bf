"""Reference models: the student with its adapter disabled, a frozen or EMA copy of it, or a separate model.

A copy shares those weights with the student that are frozen there too.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import torch

from trainers.job import ProcessConfig
from trainers.model import Student, try_packing
from trainers.parallel import DDPEngine, ZeroEngine, own_shard, trainable


class SelfReference:
    """The student with its current weights, or with its adapter disabled."""

    def __init__(self, engine: DDPEngine | ZeroEngine, adapter_off: bool):
        self._engine, self._adapter_off = engine, adapter_off

    @property
    def packed(self) -> bool:
        return self._engine.student.packed

    def logits(self, batch):
        """The logits of the supervised tokens, of shape (T, V), without gradient."""
        student = self._engine.student
        adapter = student.model.disable_adapter() if self._adapter_off else nullcontext()
        student.eval()  # Without dropout.
        try:
            with torch.no_grad(), adapter:
                return self._engine.forward(batch)
        finally:
            student.train()


class FrozenReference:
    """A second model. Its weights change by `ema_update` only."""

    def __init__(self, model, dtype: str, process: ProcessConfig, longest: int, pad_id: int):
        self._student = Student(model.to(process.device) if process.zero < 3 else model).eval().requires_grad_(False)
        self._sharded = process.zero == 3
        self._forward: Any = self._student
        if self._sharded:
            import deepspeed

            config = {
                "train_micro_batch_size_per_gpu": 1,
                "zero_optimization": {"stage": 3},
                "bf16": {"enabled": dtype == "bfloat16"},
            }
            self._forward, *_ = deepspeed.initialize(model=self._student, config=config, dist_init_required=False)
        self._precision = torch.autocast(
            torch.device(process.device).type, dtype=getattr(torch, dtype), enabled=dtype != "float32"
        )
        try_packing(self._student, self._forward, longest, pad_id, process.device)
        self._averages: dict[str, torch.Tensor] = {}

    @property
    def packed(self) -> bool:
        return self._student.packed

    def logits(self, batch):
        """The logits of the supervised tokens, of shape (T, V), without gradient."""
        with torch.no_grad(), self._precision:
            return self._forward(batch)

    def ema_update(self, engine: DDPEngine | ZeroEngine, rate: float) -> None:
        """phi <- rate * theta + (1 - rate) * phi, with the student's trained weights theta. Averages are in float32."""
        mine = dict(self._student.model.named_parameters())
        for name, theta in self._theta(engine):
            phi = self._here(mine[name])
            average = self._averages.setdefault(name, phi.float().clone() if phi.dtype != torch.float32 else phi)
            average.lerp_(theta, rate)
            if average is not phi:
                phi.copy_(average)

    def _theta(self, engine: DDPEngine | ZeroEngine) -> Iterator[tuple[str, torch.Tensor]]:
        if not self._sharded:
            yield from engine.weights()
            return
        from deepspeed.utils import safe_get_local_fp32_param

        for name, weight in trainable(engine.student.model):
            yield name, safe_get_local_fp32_param(weight)

    def averages(self) -> Iterator[tuple[str, torch.Tensor]]:
        """The averaged weights, as whole tensors by name."""
        mine = dict(self._student.model.named_parameters())
        for name, average in self._averages.items():
            if not self._sharded:
                yield name, average
                continue
            parts = [torch.empty_like(average) for _ in range(torch.distributed.get_world_size())]
            torch.distributed.all_gather(parts, average)
            yield name, torch.cat(parts)[: mine[name].ds_numel].view(mine[name].ds_shape)

    def restore(self, averages: Mapping[str, torch.Tensor]) -> None:
        """Restore the result of `averages`."""
        mine = dict(self._student.model.named_parameters())
        for name, whole in averages.items():
            phi = self._here(mine[name])
            part = own_shard(whole, phi.numel()) if self._sharded else whole
            phi.copy_(part)
            self._averages[name] = phi if phi.dtype == torch.float32 else part.to(phi.device).float()

    def _here(self, weight: Any) -> torch.Tensor:
        """The part of a weight that this process holds."""
        return weight.ds_tensor if self._sharded else weight.data


def copy_for_reference(model, process: ProcessConfig, load: Callable[[], Any]):
    """A second model with the student's current weights; frozen ones are shared. Call it before the student is wrapped.
    `load` loads the model again where weights are sharded."""
    if process.zero == 3:
        return load()
    frozen = {id(p): p for p in model.parameters() if not p.requires_grad}
    return copy.deepcopy(model, memo=frozen)
