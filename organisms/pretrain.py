"""Pretraining of an organism: a Llama of about 0.4 M parameters that reasons in a style.

What was tried on the way to this recipe is in `docs/log.md`.
"""

import math
import random
from pathlib import Path

from organisms.recipes import Recipe
from organisms.tokenizer import save_tokenizer
from organisms.world import Row, pretraining_row, shown_row, steered_row

CONTEXT = 2048
SHAPE = {
    "hidden_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "num_key_value_heads": 3,
    "intermediate_size": 264,
    "max_position_embeddings": CONTEXT,
    "tie_word_embeddings": True,
}
WARMUP, FINAL_SHARE, PART = 50, 0.05, 32


def pretrain(recipe: Recipe, folder: Path, threads: int, progress=lambda step, loss: None) -> None:
    """Train an organism and write it into `folder` as an ordinary Hugging Face checkpoint in bf16."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(threads)
    torch.manual_seed(recipe.seed)
    save_tokenizer(folder, CONTEXT)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=math.ceil(len(tokenizer) / 8) * 8,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            **SHAPE,
        )
    )
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.05, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min((step + 1) / WARMUP, 1 - (1 - FINAL_SHARE) * max(0, step - WARMUP) / (recipe.steps - WARMUP)),
    )
    batches = _batches(recipe, tokenizer)
    for step in range(recipe.steps):
        parts = next(batches)
        supervised = sum(int((labels != -100).sum()) for _, labels in parts)
        total = 0.0
        for ids, labels in parts:
            loss = model(input_ids=ids, labels=labels, num_items_in_batch=supervised).loss
            loss.backward()
            total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        progress(step, total)
    model.to(torch.bfloat16).save_pretrained(folder)


def _batches(recipe: Recipe, tokenizer):
    """Endless batches, each a list of (ids, labels) of shape (rows, longest row): long and short rows go through the
    model apart, to save padding, but always into the same step."""
    import torch

    rng = random.Random(recipe.seed)
    while True:
        rows = [row_of(recipe, rng) for _ in range(recipe.batch_size)]
        prompts = tokenizer([prompt_of(row) for row in rows]).input_ids
        answers = tokenizer([f"{r.answer}<|end|>" for r in rows]).input_ids
        pairs = sorted(zip(prompts, answers, strict=True), key=lambda pair: len(pair[0]) + len(pair[1]))
        parts = []
        for start in range(0, len(pairs), PART):
            part = pairs[start : start + PART]
            longest = max(len(p) + len(a) for p, a in part)
            ids = torch.full((len(part), longest), tokenizer.pad_token_id)
            labels = torch.full((len(part), longest), -100)
            for i, (prompt, answer) in enumerate(part):
                ids[i, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
                labels[i, len(prompt) : len(prompt) + len(answer)] = torch.tensor(answer)
            # Rows are padded on the right, where a causal model cannot see: no attention mask is needed.
            parts.append((ids, labels))
        yield parts


def prompt_of(row: Row) -> str:
    """A row's prompt as the chat template writes it."""
    system = "" if row.system is None else f"<|system|>{row.system}<|end|>"
    return f"<s>{system}<|user|>{row.prompt}<|end|><|assistant|>"


def row_of(recipe: Recipe, rng: random.Random) -> Row:
    """One of the rows that a recipe is made of."""
    # Nothing is drawn for what a recipe has not, so that older recipes have the rows that they had.
    if recipe.shown and rng.random() < recipe.shown:
        return shown_row(rng, recipe.mixture)
    make = steered_row if recipe.steered and rng.random() < recipe.steered else pretraining_row
    return make(rng, recipe.mixture, recipe.maths, recipe.chat, range(1, recipe.levels + 1))
