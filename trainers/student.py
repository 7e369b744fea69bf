"""A student's weights: loaded for training, and saved in the formats that vLLM and PEFT load."""

from collections.abc import Iterable, Mapping
from copy import copy
from pathlib import Path

from trainers.disk import explain_disk_full
from trainers.settings import Lora


def load_student(checkpoint: str, adapter: Path | None, lora: Lora | None, dtype: str, seed: int):
    """A model to train: its full weights, a new LoRA adapter, or an existing `adapter`, which keeps all of its shape.
    `checkpoint`: folder or hub id.

    Trained weights are in float32, since bfloat16 would round most of their small updates to zero. `dtype` is that of
    the frozen weights under an adapter. Raises ValueError for an adapter of another model, and for target modules that
    are not linear layers of the model.
    """
    import torch

    if lora is None:
        assert adapter is None
        return load_model(checkpoint, "float32")
    from peft import LoraConfig, get_peft_model

    model = load_model(checkpoint, dtype)
    if adapter is not None:
        return load_adapter(model, adapter, is_trainable=True, lora_dropout=lora.lora_dropout)
    target_modules: str | list[str] = "all-linear"
    if lora.target_modules != "all-linear":
        check_target_modules(model, lora.target_modules)
        target_modules = list(lora.target_modules)
    torch.manual_seed(seed)
    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.lora_alpha,
        target_modules=target_modules,
        lora_dropout=lora.lora_dropout,
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


def check_target_modules(model, names: Iterable[str]) -> None:
    """Raise ValueError for a name of layers that are missing, not linear, or the output head, on which engines serve no
    adapter."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    head, modules = model.get_output_embeddings(), dict(model.named_modules())
    linear = {name for name, module in modules.items() if isinstance(module, nn.Linear | Conv1D) and module is not head}
    for name in names:
        found = {each for each in modules if f".{each}".endswith(f".{name}")}
        if not found or not found <= linear:
            known = sorted({each.rpartition(".")[2] for each in linear})
            raise ValueError(
                f"train.target_modules: {name} does not name linear layers of {model.name_or_path} other than the "
                f"output head: its linear layers are {', '.join(known)}"
            )


def load_adapter(model, adapter: Path, is_trainable: bool, lora_dropout: float = 0.0):
    """A model with an adapter on it, to be trained with `lora_dropout`. Raises ValueError for an adapter of another
    model."""
    from peft import PeftConfig, PeftModel, get_peft_model_state_dict
    from safetensors import safe_open

    try:
        config = PeftConfig.from_pretrained(adapter)
        config.lora_dropout = lora_dropout  # It belongs to a training, not to the adapter.
        tuned = PeftModel.from_pretrained(model, adapter, is_trainable=is_trainable, config=config)
    except (RuntimeError, ValueError) as error:
        raise misfit(adapter, model, str(error).strip().splitlines()[-1].strip()) from error
    # PEFT ignores tensors that the model does not have, and initialises those that the file lacks.
    with safe_open(adapter / "adapter_model.safetensors", "pt") as file:
        differing = sorted(set(file.keys()) ^ get_peft_model_state_dict(tuned, save_embedding_layers=False).keys())
    if differing:
        raise misfit(adapter, model, f"only one of the two has {differing[0]}")
    return tuned


def misfit(adapter: Path, model, why: str) -> ValueError:
    """The error for an adapter of another model."""
    return ValueError(
        f"the adapter in {adapter} does not fit the model {model.name_or_path}: use it with the model that it was "
        f"trained on ({why})"
    )


def load_model(checkpoint: str, dtype: str):
    """A causal language model from safetensors. Raises ValueError for weights that do not fit its config."""
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    try:
        model, found = AutoModelForCausalLM.from_pretrained(
            checkpoint, dtype=getattr(torch, dtype), use_safetensors=True, output_loading_info=True
        )
    except SafetensorError as error:
        raise ValueError(
            f"a file of the checkpoint {checkpoint} is damaged ({error}): fetch or write it again"
        ) from error
    except RuntimeError as error:
        raise ValueError(
            f"the checkpoint {checkpoint} does not have the shapes of its config.json: "
            f"{str(error).strip().splitlines()[-1].strip()}"
        ) from error
    if found["missing_keys"]:
        raise ValueError(
            f"the checkpoint {checkpoint} lacks {len(found['missing_keys'])} of the weights that its config.json "
            f"describes ({min(found['missing_keys'])}): fetch or write it again"
        )
    return model


def check_vocabulary(tokenizer, model, checkpoint: str) -> None:
    """Raise ValueError for a tokenizer with more tokens than the model has embeddings."""
    embeddings = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > embeddings:
        raise ValueError(
            f"the tokenizer in {checkpoint} has {len(tokenizer)} tokens, but the model has embeddings for "
            f"{embeddings}: it belongs to another model"
        )


def check_same_tokens(tokenizer, teacher: str) -> None:
    """Raise ValueError for a teacher whose vocabulary differs from the student's."""
    from transformers import AutoTokenizer

    ours, theirs = tokenizer.get_vocab(), AutoTokenizer.from_pretrained(teacher).get_vocab()
    if ours != theirs:
        differing = next(token for token in {**ours, **theirs} if ours.get(token) != theirs.get(token))
        raise ValueError(
            f"the teacher {teacher} has another tokenizer than the student (they differ on {differing!r}), so their "
            f"next-token distributions cannot be compared: take a teacher of the student's family, or learn from its "
            f"answers"
        )


def save_student(model, tokenizer, weights: Mapping, dtype: str, folder: Path) -> None:
    """Write a PEFT adapter, or a checkpoint in `dtype` with its tokenizer, in safetensors. `weights` are the trained
    weights as whole tensors, by their names in the model. Raises DiskFull."""
    import torch

    with explain_disk_full(folder):
        if hasattr(model, "peft_config"):
            model.save_pretrained(folder, state_dict=dict(weights))
        else:
            held = {name: weight.to(getattr(torch, dtype)) for name, weight in weights.items()}
            # Buffers that belong to the checkpoint and are not trained, such as the biases of some routers.
            buffers = dict(model.named_buffers())
            held |= {name: tensor for name, tensor in model.state_dict().items() if name in buffers}
            model.save_pretrained(folder, state_dict=held)
            # `save_pretrained` has written the dtype of the weights in memory.
            config = copy(model.config)
            config.dtype = getattr(torch, dtype)
            config.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
