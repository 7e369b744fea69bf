"""Tokens per second of the engine beside Hugging Face `generate` at its best batch size.

    python -m perf.hugging_face [rounds] [--checkpoint FOLDER] [--requests 256] [--dtype float32]

Prompts are random, and the lengths of answers lognormal, 8 to 480 tokens with a mean of about 60. `generate` runs a
batch to the end of its longest answer, as it must with real answers; only the tokens of answers count. The seconds are
those of the processor, with one thread, since other load on the machine changes them less than wall time.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from evaluators.engines.vllm_engine import Engine
from organisms import shipped
from perf.students import answer_lengths

BATCH_SIZES = (4, 8, 16, 32, 64, 128, 256)
PROMPT = 16  # tokens


def prompts_of(n: int, vocabulary: int) -> list[list[int]]:
    rng = random.Random(1)
    return [[rng.randrange(10, min(vocabulary, 1000)) for _ in range(PROMPT)] for _ in range(n)]


def generated(model: Any, prompts: list[list[int]], lengths: list[int], batch: int) -> None:
    import torch

    for start in range(0, len(prompts), batch):
        longest = max(lengths[start : start + batch])
        ids = torch.tensor(prompts[start : start + batch])
        with torch.inference_mode():
            model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                min_new_tokens=longest,
                max_new_tokens=longest,
                pad_token_id=0,
            )


def in_engine(engine: Engine, prompts: list[list[int]], lengths: list[int]) -> None:
    import vllm

    params = [vllm.SamplingParams(temperature=0, max_tokens=n, ignore_eos=True, detokenize=False) for n in lengths]
    batch = engine._begin(prompts, params, lambda i, output: None, None, False, 0)
    while not batch.done:
        list(engine.step())  # a generator


def main() -> None:
    import torch
    from transformers import AutoModelForCausalLM

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rounds", type=int, nargs="?", default=3)
    parser.add_argument("--checkpoint", default=str(shipped.FOLDER / "steps"))
    parser.add_argument("--requests", type=int, default=256)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=BATCH_SIZES, help="of generate, to try")
    arguments = parser.parse_args()
    engine = Engine(arguments.checkpoint, arguments.dtype, 512, threads=1)
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(arguments.checkpoint, dtype=getattr(torch, arguments.dtype)).eval()
    n = arguments.requests
    lengths, prompts = answer_lengths(n), prompts_of(n, model.config.vocab_size)

    def seconds(work: Callable[[], None]) -> float:
        engine._llm.reset_prefix_cache()
        start = time.process_time()
        work()
        return time.process_time() - start

    in_engine(engine, prompts[:8], lengths[:8])
    sizes = sorted({min(size, n) for size in arguments.batch_sizes})
    took = {}
    for size in sizes:
        took[size] = seconds(partial(generated, model, prompts, lengths, size))
        print(f"generate, batch size {size}: {sum(lengths) / took[size]:,.0f} tokens/s", flush=True)
    best = min(took, key=took.__getitem__)
    ratios = []
    for _ in range(arguments.rounds):
        ours = seconds(partial(in_engine, engine, prompts, lengths))
        theirs = seconds(partial(generated, model, prompts, lengths, best))
        ratios.append(theirs / ours)
        print(f"engine {sum(lengths) / ours:,.0f}, generate {sum(lengths) / theirs:,.0f} tokens/s", flush=True)
    print(f"the engine: {statistics.median(ratios):.2f} times the throughput of generate at batch size {best}")


if __name__ == "__main__":
    main()
