"""What an objective compares the student with: itself without what it has learnt, as it was, or another model.

Where the student is an adapter its base is itself with the adapter off; all else is a second model, whose frozen
weights are the student's own where those are frozen too.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from trainers.model import Student, try_packing
from trainers.parallel import DDPEngine, ZeroEngine, trained
from trainers.place import ProcessConfig


class SelfReference:
    """The student's own weights as they are now, or, with the adapter off, those that it is on."""

    def __init__(self, engine: DDPEngine | ZeroEngine, adapter_off: bool):
        self._engine, self._adapter_off = engine, adapter_off

    @property
    def packed(self) -> bool:
        return self._engine.student.packed

    def logits(self, batch):
        """Of shape (T, V), without a gradient."""
        student = self._engine.student
        without: AbstractContextManager = nullcontext()
        if self._adapter_off:
            without = student.model.disable_adapter()
        student.eval()  # What is measured is the model, and not the model at some draw of its dropout.
        try:
            with torch.no_grad(), without:
                return self._engine.forward(batch)
        finally:
            student.train()


class FrozenReference:
    """A model beside the student: frozen, but for `follow`, by which it comes after the student."""

    def __init__(self, model, dtype: str, place: ProcessConfig, longest: int, pad_id: int):
        self._student = Student(model.to(place.device) if place.zero < 3 else model).eval().requires_grad_(False)
        self._sharded = place.zero == 3
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
            torch.device(place.device).type, dtype=getattr(torch, dtype), enabled=dtype != "float32"
        )
        try_packing(self._student, self._forward, longest, pad_id, place.device)
        self._averages: dict[str, torch.Tensor] = {}

    @property
    def packed(self) -> bool:
        return self._student.packed

    def logits(self, batch):
        with torch.no_grad(), self._precision:
            return self._forward(batch)

    def follow(self, engine: DDPEngine | ZeroEngine, rate: float) -> None:
        """phi <- rate * theta + (1 - rate) * phi, with theta the student's trained weights. Averages are in float32."""
        mine = dict(self._student.model.named_parameters())
        for name, theta in self._theta(engine):
            phi = mine[name].ds_tensor if self._sharded else mine[name].data
            average = self._averages.setdefault(name, phi.float().clone() if phi.dtype != torch.float32 else phi)
            average.lerp_(theta, rate)
            if average is not phi:
                phi.copy_(average)

    def _theta(self, engine: DDPEngine | ZeroEngine) -> Iterator[tuple[str, torch.Tensor]]:
        if not self._sharded:
            yield from engine.weights()
            return
        from deepspeed.utils import safe_get_local_fp32_param

        for name, weight in trained(engine.student.model):
            yield name, safe_get_local_fp32_param(weight)

    def averages(self) -> Iterator[tuple[str, torch.Tensor]]:
        """The followed weights, whole."""
        mine = dict(self._student.model.named_parameters())
        for name, average in self._averages.items():
            if not self._sharded:
                yield name, average
                continue
            parts = [torch.empty_like(average) for _ in range(torch.distributed.get_world_size())]
            torch.distributed.all_gather(parts, average)
            yield name, torch.cat(parts)[: mine[name].ds_numel].view(mine[name].ds_shape)

    def restore(self, averages: Mapping[str, torch.Tensor]) -> None:
        mine = dict(self._student.model.named_parameters())
        for name, whole in averages.items():
            phi = mine[name].ds_tensor if self._sharded else mine[name].data
            if self._sharded:
                begin = phi.numel() * torch.distributed.get_rank()
                padding = phi.numel() * torch.distributed.get_world_size() - whole.numel()
                whole = torch.nn.functional.pad(whole.flatten(), (0, padding))[begin : begin + phi.numel()]
            phi.copy_(whole)
            if phi.dtype != torch.float32:
                self._averages[name] = whole.to(phi.device).float()
            else:
                self._averages[name] = phi


def copy_for_reference(model, place: ProcessConfig, load: Callable[[], Any]):
    """A second model with the student's weights as they are now; those that are frozen are shared. `load` loads it
    again where its weights are sharded. To be made before the student is wrapped."""
    if place.zero == 3:
        return load()
    frozen = {id(p): p for p in model.parameters() if not p.requires_grad}
    return copy.deepcopy(model, memo=frozen)
