"""A student's weights: loaded for training, saved as what vLLM and PEFT load as they are."""

from pathlib import Path

from trainers.settings import Lora


def load_student(checkpoint: str, adapter: Path | None, lora: Lora | None, dtype: str, seed: int):
    """A model to train: its full weights, a new LoRA adapter, or `adapter` further. `checkpoint`: folder or hub id.

    Weights that are trained are held in float32, for in bfloat16 most of their small updates would round to nothing;
    `dtype` is that of the frozen weights under an adapter.
    """
    import torch
    from transformers import AutoModelForCausalLM

    held = dtype if lora is not None else "float32"
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=getattr(torch, held))
    if lora is None:
        if adapter is not None:
            raise ValueError("full-weight training cannot start from a LoRA adapter: merge it into a checkpoint first")
        return model
    from peft import LoraConfig, PeftModel, get_peft_model

    if adapter is not None:
        return PeftModel.from_pretrained(model, adapter, is_trainable=True)
    torch.manual_seed(seed)
    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    return get_peft_model(model, config)


def save_student(model, tokenizer, dtype: str, folder: Path) -> None:
    """Write a PEFT adapter, or a whole checkpoint in `dtype` with its tokenizer, in safetensors."""
    import torch

    if hasattr(model, "peft_config"):
        model.save_pretrained(folder)
    else:
        model.to(getattr(torch, dtype)).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
