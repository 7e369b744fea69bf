"""Sampling for sixteen students of one base at once, beside one student after the other and beside bare vLLM.

    python -m perf.students [rounds] [--small]

Each student is a random LoRA adapter on a toy model. Each has 50 prompts; the lengths of their answers are lognormal,
from 8 to 480 tokens with a mean of about 60, as those of students that reason differently are. Three ways alternate in
one engine: one call for each student and one after the other; all calls at once through the loop of a replica; all
requests at once through vLLM's own `LLM.generate`. The texts must be the same.
"""

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from evaluators.engines.requests import Request
from evaluators.engines.vllm_engine import Engine
from orchestrator.run.engine_loop import Call, EngineLoop
from orchestrator.run.streams import Settings
from organisms import shipped

STUDENTS, PROMPTS, RANK = 16, 50, 8
CHECKPOINT = str(shipped.FOLDER / "steps")
ONE_BY_ONE, AT_ONCE, BARE = "one student after the other", "all students at once", "bare vLLM, all at once"
Tokens = dict[tuple[int, int], tuple[int, ...]]  # by student and prompt


def answer_lengths(
    n: int, mean: float = 3.6, deviation: float = 0.95, shortest: int = 8, longest: int = 480
) -> list[int]:
    """Lognormal numbers of tokens, from the mean and the deviation of their logarithm."""
    rng = random.Random(0)
    return [min(longest, max(shortest, round(rng.lognormvariate(mean, deviation)))) for _ in range(n)]


class Received:
    """In the place of a stream: what a call's caller receives."""

    closed = False

    def __init__(self) -> None:
        self.results: dict[int, Any] = {}
        self.ended = False

    def put(self, chunk: Any) -> None:
        if isinstance(chunk, Exception):
            raise chunk
        if isinstance(chunk, Settings):
            return
        self.ended = chunk is None
        self.results.update(chunk or ())


def adapters(folder: Path, number: int) -> list[Path]:
    """Random adapters, each with an effect of its own."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    made = []
    for i in range(number):
        torch.manual_seed(i)
        config = LoraConfig(r=RANK, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
        made.append(folder / "student" / str(i))
        get_peft_model(AutoModelForCausalLM.from_pretrained(CHECKPOINT), config).save_pretrained(made[-1])
    return made


class Bench:
    def __init__(self, students: list[Path], prompts: int):
        import vllm

        self.engine = Engine(CHECKPOINT, "float32", 512, RANK, threads=1)
        self.students = students
        lengths = answer_lengths(len(students) * prompts)
        rng = random.Random(1)
        ids = [[rng.randrange(10, 100) for _ in range(16)] for _ in range(prompts)]
        self.requests = [Request(prompt=tuple(row), number=i) for i, row in enumerate(ids)]
        self.params = {
            i: [
                vllm.SamplingParams(temperature=0, max_tokens=n, ignore_eos=True, detokenize=False)
                for n in lengths[i * prompts : (i + 1) * prompts]
            ]
            for i in range(len(students))
        }
        self.tokens = sum(lengths)

    def begin(self, requests: list[Request], student: int, adapter: Path, must_differ: bool, priority: int) -> Any:
        """As `Engine.begin_generate`, with a length for each request."""
        prompts = [list(request.prompt) for request in requests]
        result = lambda i, output: tuple(output.outputs[0].token_ids)  # noqa: E731
        return self.engine._begin(prompts, self.params[student], result, adapter, must_differ, priority)  # type: ignore[arg-type]

    def one_by_one(self) -> Tokens:
        found: Tokens = {}
        for i, adapter in enumerate(self.students):
            batch = self.begin(self.requests, i, adapter, must_differ=True, priority=0)
            while not batch.done:
                found |= {(i, place): tokens for _, place, tokens in self.engine.step()}
        return found

    def at_once(self) -> Tokens:
        loop = EngineLoop(lambda base: self.engine, lambda calls: None)
        streams = [Received() for _ in self.students]
        self.engine.begin_generate = self.begin  # type: ignore[method-assign, assignment]
        for i, (adapter, stream) in enumerate(zip(self.students, streams, strict=True)):
            loop.submit(
                Call(
                    id=str(i),
                    base=CHECKPOINT,
                    adapter=adapter,
                    method="generate",
                    requests=self.requests,
                    arguments=(i,),
                    must_differ=True,
                    alone=False,
                    priority=0,
                    stream=stream,  # type: ignore[arg-type]
                    since=0.0,
                )
            )
        while not all(stream.ended for stream in streams):
            loop.turn()
        return {(i, place): tokens for i, stream in enumerate(streams) for place, tokens in stream.results.items()}

    def bare(self) -> Tokens:
        places = [(i, place) for i in range(len(self.students)) for place in range(len(self.requests))]
        outputs = self.engine._llm.generate(
            [{"prompt_token_ids": list(self.requests[place].prompt)} for _, place in places],
            [self.params[i][place] for i, place in places],
            lora_request=[self.engine._adapter(self.students[i]) for i, _ in places],
            use_tqdm=False,
        )
        return {at: tuple(one.outputs[0].token_ids) for at, one in zip(places, outputs, strict=True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rounds", type=int, nargs="?", default=3)
    parser.add_argument("--small", action="store_true", help="three students with four prompts")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        students, prompts = (3, 4) if arguments.small else (STUDENTS, PROMPTS)
        bench = Bench(adapters(Path(folder), students), prompts)
        ways: dict[str, Callable[[], Tokens]] = {
            ONE_BY_ONE: bench.one_by_one,
            AT_ONCE: bench.at_once,
            BARE: bench.bare,
        }
        bench.one_by_one()  # Each adapter is checked once, whichever way.
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(arguments.rounds):
            found = []
            for way, sample in ways.items():
                bench.engine._llm.reset_prefix_cache()
                start = time.perf_counter()
                found.append(sample())
                seconds[way].append(time.perf_counter() - start)
                print(f"{way}: {bench.tokens / seconds[way][-1]:,.0f} tokens/s", flush=True)
            same = sum(len({one[at] for one in found}) == 1 for at in found[0]) / len(found[0])
            print(f"{same:.1%} of the answers are equal in all three")
    for other in (ONE_BY_ONE, BARE):
        ratio = statistics.median(b / a for a, b in zip(seconds[AT_ONCE], seconds[other], strict=True))
        print(f"{AT_ONCE}: {ratio:.2f} times the throughput of {other}")


if __name__ == "__main__":
    main()
