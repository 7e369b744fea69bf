"""Sampling with a LoRA adapter on the CPU: our operators beside vLLM's own, in tokens per second.

    python -m perf.cpu_lora [pairs] [--small]

The model has the shape of SmolLM2-135M, with random weights and a small vocabulary. Each run is a process with one
engine, which samples 40 tokens for each of 64 prompts of 60 tokens: without an adapter, and with one of rank 16. Both
operators alternate. The share of equal tokens shows whether they compute the same.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

OPERATORS = ("ours", "vLLM's")
PROMPTS, PROMPT_TOKENS, NEW_TOKENS, RANK = 64, 60, 40, 16


def save_model(folder: Path, layers: int) -> None:
    """A checkpoint with random weights in `folder`/model, and an adapter for it in `folder`/adapter."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from organisms import shipped

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(shipped.FOLDER / "steps")
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=layers,
        num_attention_heads=9,
        num_key_value_heads=3,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config)
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    lora = LoraConfig(r=RANK, target_modules="all-linear", init_lora_weights=False)
    get_peft_model(model, lora).save_pretrained(folder / "adapter")


def sample(folder: Path, operators: str) -> dict:
    """Seconds without and with the adapter, and the token ids with it."""
    import torch

    from evaluators.engines import cpu_lora
    from evaluators.engines.requests import Request, SamplingParams
    from evaluators.engines.vllm_engine import Engine

    if operators != OPERATORS[0]:
        cpu_lora.install = lambda: None
    engine = Engine(str(folder / "model"), "float32", 256, RANK, threads=torch.get_num_threads())
    ids = torch.randint(10, 100, (PROMPTS, PROMPT_TOKENS), generator=torch.Generator().manual_seed(1)).tolist()
    requests = [Request(prompt=tuple(row), number=i) for i, row in enumerate(ids)]
    seconds, tokens = [], []
    for adapter in (None, folder / "adapter"):
        dict(engine.generate(requests[:2], SamplingParams(max_tokens=2), adapter))  # Load the adapter first.
        start = time.perf_counter()
        outputs = dict(engine.generate(requests, SamplingParams(max_tokens=NEW_TOKENS), adapter))
        seconds.append(time.perf_counter() - start)
        tokens = [outputs[i].completions[0].token_ids for i in range(PROMPTS)]
    return {"seconds": seconds, "tokens": tokens}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", type=int, nargs="?", default=3)
    parser.add_argument("--small", action="store_true", help="a model of two layers")
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        print(json.dumps(sample(Path(arguments.run[0]), arguments.run[1])))
        return
    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder), 2 if arguments.small else 30)
        ratios = []
        for _ in range(arguments.pairs):
            runs = {}
            for operators in OPERATORS:
                command = [sys.executable, "-m", "perf.cpu_lora", "--run", folder, operators]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                runs[operators] = run = json.loads(done.stdout.splitlines()[-1])
                n = sum(map(len, run["tokens"]))
                base, adapted = (n / seconds for seconds in run["seconds"])
                print(f"{operators:6s}: {base:.0f} tokens/s without an adapter, {adapted:.0f} with one", flush=True)
            ours, theirs = (runs[each] for each in OPERATORS)
            ratios.append(theirs["seconds"][1] / ours["seconds"][1])
            pairs = [
                pair for rows in zip(ours["tokens"], theirs["tokens"], strict=True) for pair in zip(*rows, strict=False)
            ]
            print(f"{sum(a == b for a, b in pairs) / len(pairs):.1%} of the tokens are equal")
    print(f"with an adapter, {statistics.median(ratios):.2f} times the throughput (median of {len(ratios)} pairs)")


if __name__ == "__main__":
    main()
