"""Students made without training: noise of an update's size, interpolated checkpoints, scaled adapters.

Checkpoints and adapters are local folders in safetensors, as transformers and PEFT save them. An adapter's update of a
linear layer is scale * B @ A (Hu et al. 2021, arXiv:2106.09685). Everything is computed in float32 from weights in
`dtype`, which is the precision of the engines.

Before it writes anything, every function raises ValueError for a folder without a checkpoint or an adapter, and for one
that does not fit the base.
"""

import hashlib
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from trainers.disk import explain_disk_full
from trainers.student import load_adapter, load_model, misfit

CHECKPOINT, ADAPTER = ("config.json", "*.safetensors"), ("adapter_config.json", "adapter_model.safetensors")
TOLERANCE = 1e-4  # of a norm after rounding; bfloat16 rarely allows a smaller one
ROUNDS = 40  # of bisection, which then has float precision


def noise(base: Path, trained: Path, seed: int, dtype: str, out: Path) -> None:
    """Save the checkpoint `base` with Gaussian noise that has, in each tensor that the training changed, the Frobenius
    norm of that tensor's update. The seed and the tensor's name decide the noise."""
    import torch

    def noisy(name: str, weight: Any, update: Any) -> Any:
        digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))
        return _moved(weight, torch.randn(weight.shape, generator=generator), _norm(update))

    _save_changed(base, trained, dtype, out, noisy)


def interpolate(base: Path, other: Path, share: float, dtype: str, out: Path) -> None:
    """Save the checkpoint base + share * (other - base) (WiSE-FT: Wortsman et al. 2022, arXiv:2109.01903).

    A share of 1 merges an adapter; one outside of 0 to 1 extrapolates.
    """
    _save_changed(base, other, dtype, out, lambda name, weight, update: weight.float() + share * update)


def scale(adapter: Path, factor: float, out: Path) -> None:
    """Save an adapter whose update is `factor` times as large. Its B matrices are multiplied by the factor."""
    from safetensors.torch import save_file

    if _kind(adapter) != "adapter":
        raise ValueError(f"{adapter} is a checkpoint, and only an adapter can be scaled: interpolate it with its base")
    tensors, (config, weights) = _tensors_of(adapter), ADAPTER
    scaled = {name: tensor * factor if ".lora_B." in name else tensor for name, tensor in tensors.items()}
    with explain_disk_full(out):
        out.mkdir(parents=True, exist_ok=True)
        save_file(scaled, out / weights, metadata={"format": "pt"})
        shutil.copyfile(adapter / config, out / config)


def relative_norm(base: Path, other: Path, dtype: str) -> float:
    """The Frobenius norm of `other`'s update, divided by that of the base's tensors that it changes."""
    found = _updates(_load(base, dtype), other, dtype)
    squares = [(_norm(update) ** 2, _norm(weight) ** 2) for _, weight, update in found]
    return math.sqrt(sum(of_update for of_update, _ in squares) / (sum(of_weight for _, of_weight in squares) or 1))


def _save_changed(base: Path, other: Path, dtype: str, out: Path, change: Callable[[str, Any, Any], Any]) -> None:
    """Save `base` with every tensor that `other` changes replaced by change(name, weight, update)."""
    from transformers import AutoTokenizer

    model, tokenizer = _load(base, dtype), AutoTokenizer.from_pretrained(base)
    for name, weight, update in _updates(model, other, dtype):
        weight.copy_(change(name, weight, update))
    with explain_disk_full(out):
        tokenizer.save_pretrained(out)
        model.save_pretrained(out)


def _updates(model: Any, other: Path, dtype: str) -> Iterator[tuple[str, Any, Any]]:
    """Every tensor of `model`, loaded in `dtype`, that `other` changes: name, weight, and update in float32."""
    adapter = _kind(other) == "adapter"
    found = _updates_of_adapter(model, other) if adapter else _updates_of_checkpoint(model, other, dtype)
    for name, weight, update in found:
        norm = _norm(update)
        if not math.isfinite(norm):
            raise ValueError(f"{other}: {name} has values that are not finite: train it again")
        if norm > 0:
            yield name, weight, update


def _updates_of_checkpoint(model: Any, folder: Path, dtype: str) -> Iterator[tuple[str, Any, Any]]:
    weights, others = dict(model.named_parameters()), dict(_load(folder, dtype).named_parameters())
    for name in sorted(weights.keys() | others.keys()):
        ours, theirs = (tuple(all_of[name].shape) if name in all_of else "missing" for all_of in (weights, others))
        if ours != theirs:
            raise ValueError(
                f"{folder} does not fit its base: {name} is {theirs}, and {ours} in {model.name_or_path}; use a "
                f"checkpoint that was trained from that base"
            )
    for name, weight in weights.items():
        yield name, weight.detach(), others[name].detach().float() - weight.detach().float()


def _updates_of_adapter(model: Any, folder: Path) -> Iterator[tuple[str, Any, Any]]:
    from peft.tuners.lora import LoraLayer

    _tensors_of(folder)  # Refuses what is more than LoRA on linear layers.
    weights = dict(model.named_parameters())
    tuned = load_adapter(model, folder, is_trainable=False)
    layers = {name: part for name, part in tuned.base_model.model.named_modules() if isinstance(part, LoraLayer)}
    tuned.unload()
    for name, layer in layers.items():
        weight = weights.get(f"{name}.weight")
        if weight is None:
            raise misfit(folder, model, f"{name} has no weights of its own there")
        yield f"{name}.weight", weight.detach(), layer.get_delta_weight("default").detach().float()


def _kind(folder: Path) -> str:
    """Whether a folder has a "checkpoint" or an "adapter"."""
    for kind, parts in {"adapter": ADAPTER, "checkpoint": CHECKPOINT}.items():
        if all(list(folder.glob(part)) for part in parts):
            return kind
    raise ValueError(
        f"{folder} is neither a checkpoint ({' and '.join(CHECKPOINT)}) nor a PEFT adapter ({' and '.join(ADAPTER)})"
    )


def _load(folder: Path, dtype: str) -> Any:
    if _kind(folder) != "checkpoint":
        raise ValueError(f"{folder} is an adapter, where a checkpoint is needed: give the one that it was trained on")
    return load_model(str(folder), dtype)


def _tensors_of(adapter: Path) -> dict[str, Any]:
    """An adapter's tensors. Raises ValueError for an adapter that is not plain LoRA on linear layers."""
    from safetensors.torch import load_file

    tensors = load_file(adapter / ADAPTER[1])
    for name in tensors:
        if not name.endswith((".lora_A.weight", ".lora_B.weight")):
            raise ValueError(f"{adapter} is more than LoRA on linear layers: it has {name}; train it as plain LoRA")
    return tensors


def _moved(weight: Any, direction: Any, norm: float) -> Any:
    """weight + s * direction, in the weight's dtype, with s such that the rounded difference to `weight` has `norm`.

    Without this search, bfloat16 would round away noise that is small compared with a weight's last bit.
    """
    low, high, by = 0.0, math.inf, norm / _norm(direction)
    for _ in range(ROUNDS):
        moved = (weight.float() + by * direction).to(weight.dtype)
        reached = _norm(moved.float() - weight.float())
        if abs(reached - norm) <= TOLERANCE * norm:
            break
        low, high = (by, high) if reached < norm else (low, by)
        by = 2 * by if high == math.inf else (low + high) / 2
    return moved


def _norm(tensor: Any) -> float:
    """The Frobenius norm, summed in float64: in float32 it is wrong by percents for a large embedding."""
    import torch

    return float(torch.linalg.vector_norm(tensor, dtype=torch.float64))
