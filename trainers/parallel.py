"""Engines that hold and update the weights of a student: replicated (DDP), or sharded by DeepSpeed's ZeRO.

Both have the same interface. The loss of a micro-batch is its share of the step's loss, so gradients are summed over
micro-batches and workers. Saved tensors are whole, in float32, with their names in the model, for any number of
workers.
"""

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel

from trainers.job import ProcessConfig
from trainers.model import Student
from trainers.settings import TrainSettings
from trainers.state import MOMENTS


class DDPEngine:
    """Every process holds all weights: one process, or several with PyTorch's DistributedDataParallel."""

    def __init__(self, model, settings: TrainSettings, process: ProcessConfig):
        self.student = Student(model.to(process.device).train())
        self._workers, self._max_norm = process.workers, settings.max_grad_norm
        self._weights = [p for p in self.student.parameters() if p.requires_grad]
        self._optimizer = adamw(self._weights, settings)
        self._wrapped: Any = self.student
        if process.workers > 1:
            self._wrapped = DistributedDataParallel(
                self.student, device_ids=[process.device] if process.device.startswith("cuda") else None
            )
        mixed = settings.lora is None and settings.dtype != "float32"
        self._precision = torch.autocast(
            torch.device(process.device).type, dtype=getattr(torch, settings.dtype), enabled=mixed
        )

    def forward(self, batch, loss=None):
        with self._precision:
            return self._wrapped(batch, loss)

    def backward(self, batch, loss, last: bool):
        """Add the gradient of one micro-batch; returns its share of the loss. `last`: the last of the step."""
        sync = nullcontext() if last or self._workers == 1 else self._wrapped.no_sync()
        with sync:
            share = self.forward(batch, loss)
            (share * self._workers).backward()
        return share.detach()

    def step(self, rate: float) -> float:
        """Update the weights with a learning rate; returns the norm of the gradient before clipping."""
        norm = torch.nn.utils.clip_grad_norm_(self._weights, self._max_norm)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return float(norm)

    def weights(self) -> Iterator[tuple[str, Any]]:
        for name, weight in trainable(self.student.model):
            yield name, weight.detach()

    def moments(self, moment: str) -> Iterator[tuple[str, Any]]:
        for name, weight in trainable(self.student.model):
            yield name, self._optimizer.state[weight][moment]

    def restore(self, weights: Mapping, moments: Mapping[str, Mapping], steps: int) -> None:
        """Restore the results of `weights` and `moments` after that many steps."""
        for name, weight in trainable(self.student.model):
            weight.data.copy_(weights[name])
            self._optimizer.state[weight] = {
                "step": torch.tensor(float(steps), device=weight.device),
                **{moment: moments[moment][name].to(weight.device) for moment in MOMENTS},
            }


class ZeroEngine:
    """DeepSpeed's ZeRO: optimiser state (1), gradients (2) and weights (3) are sharded over the processes."""

    def __init__(self, model, settings: TrainSettings, process: ProcessConfig):
        import deepspeed

        if process.device == "cpu":
            deepspeed.ops.__compatible_ops__ = {}  # Else it compiles a communication library.
        self.student = Student(model.train())
        weights = [p for p in self.student.parameters() if p.requires_grad]
        self._stage = process.zero
        self._engine, *_ = deepspeed.initialize(
            model=self.student,
            optimizer=adamw(weights, settings),
            config=zero_config(settings, process),
            dist_init_required=False,
        )
        self._workers = process.workers

    def forward(self, batch, loss=None):
        return self._engine(batch, loss)

    def backward(self, batch, loss, last: bool):
        self._engine.set_gradient_accumulation_boundary(last)
        share = self._engine(batch, loss)
        self._engine.backward(share * self._workers, scale_wrt_gas=False)
        return share.detach()

    def step(self, rate: float) -> float:
        for group in self._engine.optimizer.param_groups:
            group["lr"] = rate
        self._engine.step()
        return float(self._engine.get_global_grad_norm())

    def weights(self) -> Iterator[tuple[str, Any]]:
        from deepspeed.utils import safe_get_full_fp32_param

        for name, weight in trainable(self.student.model):
            yield name, safe_get_full_fp32_param(weight)

    def moments(self, moment: str) -> Iterator[tuple[str, Any]]:
        from deepspeed.utils import safe_get_full_optimizer_state

        for name, weight in trainable(self.student.model):
            yield name, safe_get_full_optimizer_state(weight, moment)

    def restore(self, weights: Mapping, moments: Mapping[str, Mapping], steps: int) -> None:
        """As in DDPEngine. Call it after a step with learning rate 0, which makes DeepSpeed's optimiser state."""
        from deepspeed import zero

        for name, weight in trainable(self.student.model):
            with zero.GatheredParameters([weight], modifier_rank=0, enabled=self._stage == 3):
                weight.data.copy_(weights[name])
            self._put(weight, weights[name], None)
            for moment in MOMENTS:
                self._put(weight, moments[moment][name], moment)
        for state in self._engine.optimizer.optimizer.state.values():
            state["step"] = torch.tensor(float(steps), device=state["step"].device)

    def _put(self, weight, value, moment: str | None) -> None:
        from deepspeed import utils

        if self._stage < 3:
            if moment is None:
                utils.safe_set_full_fp32_param(weight, value)
            else:
                utils.safe_set_full_optimizer_state(weight, value, moment)
            return
        part = own_shard(value, utils.safe_get_local_fp32_param(weight).numel())
        if moment is None:
            utils.safe_set_local_fp32_param(weight, part)
        else:
            utils.safe_set_local_optimizer_state(weight, part, moment)


def own_shard(whole, n: int):
    """This process's part of a whole tensor, which ZeRO flattens, pads and divides into parts of `n` numbers."""
    begin, padding = n * torch.distributed.get_rank(), n * torch.distributed.get_world_size() - whole.numel()
    return torch.nn.functional.pad(whole.flatten(), (0, padding))[begin : begin + n]


def adamw(weights: list, settings: TrainSettings):
    return torch.optim.AdamW(weights, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)


def trainable(model) -> Iterator[tuple[str, Any]]:
    return ((name, weight) for name, weight in model.named_parameters() if weight.requires_grad)


def zero_config(settings: TrainSettings, process: ProcessConfig) -> dict[str, Any]:
    """DeepSpeed's configuration. Its batch sizes have no effect: the loop makes the batches."""
    on_gpu = process.device.startswith("cuda")
    held = {"device": "cpu", "pin_memory": on_gpu}
    zero: dict[str, Any] = {"stage": process.zero, "overlap_comm": on_gpu}
    if process.offload != "nothing":
        zero["offload_optimizer"] = held
    if process.offload == "all":
        zero["offload_param"] = held
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": settings.max_grad_norm,
        "zero_optimization": zero,
        "bf16": {"enabled": settings.dtype == "bfloat16"},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 1 << 30,
    }
