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
from pathlib import Path
from typing import Any

from evaluators.engines.requests import Request, SamplingParams
from orchestrator.run.driver import start_ray
from orchestrator.stages import model
from orchestrator.store.context import Weights
from orchestrator.store.store import Store
from orchestrator.study.load import load_study
from orchestrator.study.models import LocalModel
from organisms import shipped
from perf.faults.studies import STUDY
from perf.served import Ask, Served

TOKENS = 64
COUNTS = {"one": 1, "two": 2}  # replicas, by the name of the run


def ask_of(weights: Weights, n: int) -> Ask:
    prompt = [{"role": "user", "content": "solve : start 3 , + 4 , * 2"}]
    requests = [Request(prompt=prompt, number=number) for number in range(n)]
    return Ask(weights, "generate", requests, (SamplingParams(max_tokens=TOKENS, temperature=1.0),))


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
    start_ray(None, load_study(Path(STUDY), [f"resources.cpus={sum(COUNTS.values())}"]))
    seconds: dict[str, list[float]] = {run: [] for run in COUNTS}
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = model.stage("steps", LocalModel(path=str(shipped.FOLDER / "steps")), cpus=1)
        served = {}
        for run, replicas in COUNTS.items():
            study = load_study(Path(STUDY), [f"store={folder}/{run}", f"resources.engine.replicas={replicas}"])
            store = Store(study.store)
            store.publish(checkpoint, store.new_folder(checkpoint, "one"), "one", {"facts": {}})
            served[run] = Served(run, study, "organisms")
            wait_for(served[run], replicas)
            dict(served[run].call(ask_of(Weights.of(checkpoint), 600 * replicas)))  # Each replica starts its engine.
        for _ in range(arguments.rounds):
            found = []
            for run in COUNTS:
                start = time.perf_counter()
                found.append(token_ids(served[run].call(ask_of(Weights.of(checkpoint), arguments.requests))))
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
