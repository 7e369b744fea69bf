"""One large batch on two replicas of an engine, beside one replica, on a real Ray and Ray Serve.

    python -m perf.replicas [rounds] [--requests 4000]

Each replica has one thread. Both runs have their engines started before the time counts, and alternate. The answers
must be the same.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterable
from typing import Any

from orchestrator.run.driver import start_ray
from perf.served import Served, demo, demo_with_checkpoint, seeded_samples

COUNTS = {"one": 1, "two": 2}  # replicas, by the name of the run


def token_ids(results: Iterable[tuple[int, Any]]) -> dict[int, tuple[int, ...]]:
    return {place: output.completions[0].token_ids for place, output in results}


def wait_for(served: Served, replicas: int) -> None:
    served.enlarge(replicas)
    while served.replicas < replicas:
        time.sleep(0.2)


def main() -> None:
    import ray

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rounds", type=int, nargs="?", default=3)
    parser.add_argument("--requests", type=int, default=4000)
    arguments = parser.parse_args()
    # The replicas that do not answer are idle, and take no time.
    start_ray(None, demo(f"resources.cpus={sum(COUNTS.values())}"))
    seconds: dict[str, list[float]] = {run: [] for run in COUNTS}
    with tempfile.TemporaryDirectory() as folder:
        served = {}
        for run, replicas in COUNTS.items():
            served[run] = Served(run, demo_with_checkpoint(f"{folder}/{run}", f"resources.engine.replicas={replicas}"))
            wait_for(served[run], replicas)
            dict(served[run].call(seeded_samples(600 * replicas)))  # Each replica starts its engine.
        for _ in range(arguments.rounds):
            found = []
            for run in COUNTS:
                start = time.perf_counter()
                found.append(token_ids(served[run].call(seeded_samples(arguments.requests))))
                seconds[run].append(time.perf_counter() - start)
                tokens = sum(map(len, found[-1].values()))
                print(f"{run}: {tokens / seconds[run][-1]:,.0f} tokens/s", flush=True)
            same = sum(found[0][place] == found[1][place] for place in found[0]) / len(found[0])
            print(f"{same:.1%} of the answers are equal")
    ratio = statistics.median(one / two for one, two in zip(seconds["one"], seconds["two"], strict=True))
    print(f"two replicas: {ratio:.2f} times the throughput of one")
    ray.shutdown()


if __name__ == "__main__":
    main()
