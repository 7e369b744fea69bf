"""The demo's requests through the engine of a study, beside bare vLLM with all requests at once.

    python -m perf.sampling [rounds] [--store FOLDER] [--every 4] [--small]

FOLDER is the store of a finished `make demo`; without it the demo runs first. Every call that its stages made of the
toy models' engine is made again, all at once, through Ray and Ray Serve. Bare vLLM, in this process, gets the token
ids of all requests on the same base weights in one `LLM.generate`. Each has one thread, and the same adapters and
weights to load. The two alternate. Besides the wall time it compares the CPU time of the process with the engine, which
other load on the machine changes less. Three workloads: the completions, the log-probabilities, and 16 samples of each
of 40 problems of maths.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from evaluators.engines.requests import RequestOutput, SamplingParams, TokenLogprobs
from evaluators.engines.vllm_engine import Engine
from orchestrator.run.driver import start_ray
from orchestrator.store.checkpoints import adapter_of, checkpoint_of
from orchestrator.store.stage import Stage
from orchestrator.store.store import Store
from perf.served import ENGINE, Ask, Served, asks_of, finished_demo

SAMPLES, PROBLEMS = 16, 40
Tokens = list[dict[int, Any]]  # by call, by request


class Bare:
    """vLLM's `LLM.generate`, in one engine of the same settings."""

    def __init__(self, asks: list[Ask], store: Store, lora_rank: int, max_model_len: int | None):
        bases = dict.fromkeys(ask.weights.base for ask in asks)
        self._folders = {base: self._checkpoint(store, asks, base) for base in bases}
        self._store = store
        first = next(iter(self._folders.values()))
        self._engine = Engine(first, "float32", max_model_len, lora_rank, threads=1)

    @staticmethod
    def _checkpoint(store: Store, asks: Iterable[Ask], base: str) -> str:
        return checkpoint_of(store, base, next(ask.weights.path for ask in asks if ask.weights.base == base))

    def prepared(self, asks: list[Ask]) -> dict[str, list[tuple[tuple[int, int], list[int], Any, Path | None]]]:
        """Place, token ids, parameters and adapter of each request, by base weights."""
        found: dict[str, list] = {base: [] for base in self._folders}
        for i, ask in enumerate(asks):
            thinking = ask.arguments[0].thinking if ask.method == "generate" else None
            for place, request in enumerate(ask.requests):
                ids = self._engine._encoded(request, thinking).ids
                row = (i, place), ids, self._params(ask, request), self._adapter(ask)
                found[ask.weights.base].append(row)
        return found

    def _adapter(self, ask: Ask) -> Path | None:
        return None if ask.weights.adapter is None else adapter_of(self._store, ask.weights.adapter)

    def _params(self, ask: Ask, request: Any) -> Any:
        import vllm

        if ask.method == "score":
            return vllm.SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=0)
        params: SamplingParams = ask.arguments[0]
        options = [self._engine._option_token(option) for option in params.options]
        return vllm.SamplingParams(
            n=params.n,
            temperature=params.temperature,
            top_p=params.top_p,
            max_tokens=1 if options else params.max_tokens,
            seed=params.seed_of(request),
            allowed_token_ids=options or None,
            logprob_token_ids=options or None,
            logprobs=len(options) or None,
        )

    def generate(self, prepared: dict[str, list], calls: int) -> Tokens:
        """All requests on the same base weights at once."""
        found: Tokens = [{} for _ in range(calls)]
        for base, rows in prepared.items():
            if not rows:
                continue
            self._engine.load(self._folders[base])
            outputs = self._engine._llm.generate(
                [{"prompt_token_ids": ids} for _, ids, _, _ in rows],
                [params for _, _, params, _ in rows],
                lora_request=[self._engine._adapter(adapter) for _, _, _, adapter in rows],
                use_tqdm=False,
            )
            for ((i, place), ids, params, _), output in zip(rows, outputs, strict=True):
                if params.prompt_logprobs is None:
                    found[i][place] = tuple(tuple(one.token_ids) for one in output.outputs)
                else:
                    pairs = zip(ids[1:], output.prompt_logprobs[1:], strict=True)
                    found[i][place] = tuple(at[token].logprob for token, at in pairs)
        return found


def tokens_of(result: RequestOutput | TokenLogprobs) -> tuple:
    """What `Bare.generate` has for the same request; log-probabilities without those of the prompt."""
    if isinstance(result, TokenLogprobs):
        return result.logprobs
    return tuple(one.token_ids[len(result.prefill_token_ids) :] for one in result.completions)


def same(ours: Any, bare: Any, method: str) -> bool:
    if method == "generate":
        return bool(ours == bare)
    return all(abs(a - b) < 1e-4 for a, b in zip(ours, bare[len(bare) - len(ours) :], strict=True))


def workloads(asked: list[tuple[Stage, Ask]]) -> dict[str, list[Ask]]:
    asks = [ask for _, ask in asked]

    def of_maths(stage: Stage) -> bool:
        return stage.kind == "sample" and stage.runtime.benchmark == "maths"

    def sampled(ask: Ask) -> Ask:
        params = replace(ask.arguments[0], n=SAMPLES, temperature=1.0)
        return replace(ask, requests=ask.requests[:PROBLEMS], arguments=(params,))

    return {
        "completions": [ask for ask in asks if ask.method == "generate"],
        "log-probabilities": [ask for ask in asks if ask.method == "score"],
        f"{SAMPLES} samples": [sampled(ask) for stage, ask in asked if of_maths(stage)],
    }


def main() -> None:
    import ray

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rounds", type=int, nargs="?", default=3)
    parser.add_argument("--store", help="of a finished demo")
    parser.add_argument("--every", type=int, default=1, help="make every such call only; 1: all")
    parser.add_argument("--small", action="store_true", help="a few requests")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        plan = finished_demo(arguments.store, arguments.small, Path(scratch))
        store = Store(plan.study.store)
        asked = [(stage, ask) for stage, ask in asks_of(plan, store, Path(scratch)) if stage.runtime.engine == ENGINE]
        start_ray(None, plan.study)
        served = Served("sampling", plan.study, plan.lora_rank)
        bare = Bare([ask for _, ask in asked], store, plan.lora_rank, plan.study.max_model_len)
        for name, asks in workloads(asked[:: arguments.every]).items():
            compare(name, asks, served, bare, arguments.rounds)
        ray.shutdown()


def timed(work: Callable[[], Tokens], cpu_clock: Callable[[], float]) -> tuple[Tokens, float, float]:
    """The result of some work, its wall time, and its time on a clock of the CPU, in seconds."""
    start, of_cpu = time.perf_counter(), cpu_clock()
    result = work()
    return result, time.perf_counter() - start, cpu_clock() - of_cpu


def compare(name: str, asks: list[Ask], served: Served, bare: Bare, rounds: int) -> None:
    print(f"{name}: {len(asks)} calls, {sum(len(ask.requests) for ask in asks):,} requests", flush=True)
    prepared, wall, cpu = bare.prepared(asks), [], []
    for number in range(rounds + 1):  # The first is not counted.
        ours, seconds, busy = timed(lambda: served.answers_to_all(asks), lambda: served.cpu_seconds)
        theirs, of_bare, busy_bare = timed(lambda: bare.generate(prepared, len(asks)), time.process_time)
        if number:
            wall.append(seconds / of_bare)
            cpu.append(busy / busy_bare)
            print(
                f"  the study's engine {seconds:.1f} s ({busy:.1f} s of CPU time), "
                f"bare vLLM {of_bare:.1f} s ({busy_bare:.1f} s)",
                flush=True,
            )
    pairs = [
        same(tokens_of(ours[i][place]), theirs[i][place], ask.method)
        for i, ask in enumerate(asks)
        for place in range(len(ask.requests))
    ]
    print(f"  {statistics.mean(pairs):.2%} of the answers are equal")
    print(
        f"  {name}: {statistics.median(wall):.2f} times the time of bare vLLM, "
        f"{statistics.median(cpu):.2f} times the CPU time",
        flush=True,
    )


if __name__ == "__main__":
    main()
