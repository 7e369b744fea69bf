"""Pretrains an organism: a Llama of about 0.4 million parameters that reasons in one style.

`docs/log.md` records the experiments that led to these hyperparameters.
"""

import math
import random
from pathlib import Path

from organisms.recipes import Recipe
from organisms.tokenizer import save_tokenizer
from organisms.world import Row, demonstration_row, pretraining_row, system_prompt_row

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
WARMUP_STEPS, FINAL_LR_SHARE, MICROBATCH = 50, 0.05, 32


def pretrain(recipe: Recipe, folder: Path, threads: int, progress=lambda step, loss: None) -> None:
    """Pretrain an organism and write it into `folder` as a Hugging Face checkpoint in bf16."""
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
        lambda step: min(
            (step + 1) / WARMUP_STEPS,
            1 - (1 - FINAL_LR_SHARE) * max(0, step - WARMUP_STEPS) / (recipe.steps - WARMUP_STEPS),
        ),
    )
    batches = _batches(recipe, tokenizer)
    for step in range(recipe.steps):
        microbatches = next(batches)
        supervised = sum(int((labels != -100).sum()) for _, labels in microbatches)
        total = 0.0
        for ids, labels in microbatches:
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
    """Endless batches, each a list of microbatches (ids, labels) of shape (rows, longest row).

    The rows of a batch are sorted by length, to save padding.
    """
    import torch

    rng = random.Random(recipe.seed)
    while True:
        rows = [row_of(recipe, rng) for _ in range(recipe.batch_size)]
        prompts = tokenizer([prompt_of(row) for row in rows]).input_ids
        answers = tokenizer([f"{r.answer}<|end|>" for r in rows]).input_ids
        pairs = sorted(zip(prompts, answers, strict=True), key=lambda pair: len(pair[0]) + len(pair[1]))
        microbatches = []
        for start in range(0, len(pairs), MICROBATCH):
            part = pairs[start : start + MICROBATCH]
            longest = max(len(p) + len(a) for p, a in part)
            ids = torch.full((len(part), longest), tokenizer.pad_token_id)
            labels = torch.full((len(part), longest), -100)
            for i, (prompt, answer) in enumerate(part):
                ids[i, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
                labels[i, len(prompt) : len(prompt) + len(answer)] = torch.tensor(answer)
            # Right padding needs no attention mask in a causal model.
            microbatches.append((ids, labels))
        yield microbatches


def prompt_of(row: Row) -> str:
    """A row's prompt as the chat template formats it."""
    system = "" if row.system is None else f"<|system|>{row.system}<|end|>"
    return f"<s>{system}<|user|>{row.prompt}<|end|><|assistant|>"


def row_of(recipe: Recipe, rng: random.Random) -> Row:
    """A random row of a recipe."""
    # A share of 0 draws no random number: the rows of the shipped organisms depend on the order of draws.
    if recipe.demonstrations and rng.random() < recipe.demonstrations:
        return demonstration_row(rng, recipe)
    has_system = recipe.system_prompts and rng.random() < recipe.system_prompts
    return system_prompt_row(rng, recipe) if has_system else pretraining_row(rng, recipe)
