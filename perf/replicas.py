"""One large batch on two replicas of an engine, beside one replica, on a real Ray and Ray Serve.

    python -m perf.replicas [rounds] [--requests 4000]

Each replica has one thread. Both runs have their engines started before the time counts, and alternate. The answers
must be the same. What the machine allows is measured beside them: two engines without Ray, each in a process that gets
half of the requests, against one.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from multiprocessing import get_context
from typing import Any

from evaluators.engines.vllm_engine import Engine
from orchestrator.run.driver import start_ray
from organisms import shipped
from perf.served import Served, demo, demo_with_checkpoint, seeded_samples

COUNTS = {"one": 1, "two": 2}  # replicas, by the name of the run
Tokens = dict[int, tuple[int, ...]]  # the token ids of an answer, by the index of its request


def token_ids(results: Iterable[tuple[int, Any]]) -> Tokens:
    return {place: output.completions[0].token_ids for place, output in results}


def wait_for(served: Served, replicas: int) -> None:
    served.enlarge(replicas)
    while served.replicas < replicas:
        time.sleep(0.2)


@cache
def plain_engine() -> Engine:
    return Engine(str(shipped.FOLDER / "steps"), "float32", threads=1)


def plain_answers(n: int, start: int, every: int) -> Tokens:
    """The answers to every such one of `n` requests, from this process's engine."""
    ask = seeded_samples(n)
    found = token_ids(plain_engine().generate(ask.requests[start::every], *ask.arguments))
    return {start + every * i: tokens for i, tokens in found.items()}


def in_processes(pools: list[ProcessPoolExecutor], n: int) -> Tokens:
    """The answers to `n` requests, from an engine in each of these processes."""
    parts = [pool.submit(plain_answers, n, start, len(pools)) for start, pool in enumerate(pools)]
    return {place: tokens for part in parts for place, tokens in part.result().items()}


def main() -> None:
    import ray

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rounds", type=int, nargs="?", default=3)
    parser.add_argument("--requests", type=int, default=4000)
    arguments = parser.parse_args()
    # The replicas that do not answer are idle, and take no time.
    start_ray(None, demo(f"resources.cpus={sum(COUNTS.values())}"))
    pools = [ProcessPoolExecutor(1, mp_context=get_context("spawn")) for _ in range(max(COUNTS.values()))]
    ways: dict[str, Callable[[int], Tokens]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for run, replicas in COUNTS.items():
            served = Served(run, demo_with_checkpoint(f"{folder}/{run}", f"resources.engine.replicas={replicas}"))
            wait_for(served, replicas)
            ways[f"{run} of a study"] = partial(answers_of, served)
            ways[f"{run} without Ray"] = partial(in_processes, pools[:replicas])
        for way in ways.values():
            way(600 * max(COUNTS.values()))  # Each engine starts.
        seconds = measured(ways, arguments.requests, arguments.rounds)
        for pool in pools:
            pool.shutdown()
    for kind in ("of a study", "without Ray"):
        pairs = zip(seconds[f"one {kind}"], seconds[f"two {kind}"], strict=True)
        print(f"two {kind}: {statistics.median(one / two for one, two in pairs):.2f} times the throughput of one")
    ray.shutdown()


def answers_of(served: Served, n: int) -> Tokens:
    return token_ids(served.call(seeded_samples(n)))


def measured(ways: dict[str, Callable[[int], Tokens]], requests: int, rounds: int) -> dict[str, list[float]]:
    """The seconds that each way took in each round."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        found = []
        for name, way in ways.items():
            start = time.perf_counter()
            found.append(way(requests))
            seconds[name].append(time.perf_counter() - start)
            print(f"{name}: {sum(map(len, found[-1].values())) / seconds[name][-1]:,.0f} tokens/s", flush=True)
        same = [len({answers[place] for answers in found}) == 1 for place in range(requests)]
        print(f"{statistics.mean(same):.1%} of the answers are equal")
    return seconds


if __name__ == "__main__":
    main()
