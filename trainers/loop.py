"""The training loop."""

import math
import time
from collections.abc import Callable
from pathlib import Path

from trainers.batches import pad, row_order
from trainers.settings import TrainSettings
from trainers.sft import sft_loss
from trainers.student import load_student, save_student
from trainers.tokens import Chat, tokenize


def train(
    checkpoint: str,
    adapter: Path | None,
    chats: list[Chat],
    settings: TrainSettings,
    out: Path,
    micro_batch: int | None = None,
    report: Callable[[dict], None] = lambda metrics: None,
) -> dict:
    """Fine-tune a student on chats and save it into `out`; returns the run's figures.

    `micro_batch` rows go through the model at a time (all of a step's by default): it changes memory, not the result.
    `report` gets step, loss, gradient norm and learning rate after every step. Raises ValueError for rows that cannot
    be used, and FloatingPointError, with the step and its rows, for a loss that is not finite.
    """
    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    rows = tokenize(chats, tokenizer, settings.max_length)
    if not rows:
        raise ValueError("there are no rows to train on: every answer may have been cut off; raise sampling.max_tokens")
    model = load_student(checkpoint, adapter, settings.lora, settings.dtype, settings.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device).train()
    mixed = settings.lora is None and settings.dtype != "float32"
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)
    steps = settings.steps(len(rows))
    pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    supervised_tokens, losses, started = 0, [], time.monotonic()

    for step, numbers in enumerate(row_order(len(rows), settings.batch_size, steps, settings.seed)):
        batch = [rows[i] for i in numbers]
        supervised = sum(len(row.ids) - row.supervised_from for row in batch)
        loss = 0.0
        for start in range(0, len(batch), micro_batch or len(batch)):
            ids, labels = pad(batch[start : start + (micro_batch or len(batch))], pad_id)
            with torch.autocast(device.type, dtype=getattr(torch, settings.dtype), enabled=mixed):
                part = sft_loss(model, ids.to(device), labels.to(device), supervised)
            part.backward()
            loss += float(part.detach())
        if not math.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss} at step {step} (rows {numbers}) with {settings}")
        norm = torch.nn.utils.clip_grad_norm_(weights, settings.max_grad_norm)
        rate = settings.learning_rate * _rate(step, steps, settings)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        supervised_tokens += supervised
        losses.append(loss)
        report({"step": step, "loss": loss, "grad_norm": float(norm), "learning_rate": rate})

    save_student(model, tokenizer, settings.dtype, out)
    return {
        "steps": steps,
        "rows": len(rows),
        "tokens": supervised_tokens,
        "seconds": time.monotonic() - started,
        "first_loss": losses[0],
        "last_loss": losses[-1],
        "losses": losses,
    }


def _rate(step: int, steps: int, settings: TrainSettings) -> float:
    """The learning rate at a step as a share of the peak: linear warm-up, then the schedule towards 0."""
    warmup = round(settings.warmup * steps)
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return {"constant": 1.0, "linear": 1.0 - done, "cosine": 0.5 * (1 + math.cos(math.pi * done))}[settings.schedule]
