"""One large batch on two replicas of an engine, beside one replica, on a real Ray and Ray Serve.

    python -m perf.replicas [rounds] [--requests 4000]

Each replica has one thread. Both runs have their engines started before the time counts, and alternate. The answers
must be the same.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from evaluators.engines.requests import Request, SamplingParams
from orchestrator.run import engines
from orchestrator.run.allocator import allocator_of, start_allocator
from orchestrator.run.engine_lifetime import start_event_log
from orchestrator.stages import model
from orchestrator.store.context import Weights
from orchestrator.store.store import Store
from orchestrator.study.load import load_study
from orchestrator.study.models import LocalModel
from orchestrator.study.schema import Study
from organisms import shipped

DEMO = Path(__file__).parents[1] / "experiments" / "demo.yaml"
ENGINE, KEY, TOKENS = "organisms", ("trial", "stage"), 64
COUNTS = {"one": 1, "two": 2}  # replicas, by the name of the run


def deploy(run: str, study: Study) -> None:
    import ray

    start_event_log(run)
    allocator = start_allocator(run, engines.shares(study, [ENGINE]), engines.most(study), {})
    engines.deploy(run, study, [ENGINE], 0)
    ray.get(allocator.use_engine.remote(KEY, ENGINE))


def answers(run: str, weights: Weights, n: int) -> dict[int, Any]:
    prompt = [{"role": "user", "content": "solve : start 3 , + 4 , * 2"}]
    requests = [Request(prompt=prompt, number=number) for number in range(n)]
    params = SamplingParams(max_tokens=TOKENS, temperature=1.0)
    caller = engines.Caller(run=run, key=KEY, retries=0)
    chunks = engines.call(caller, ENGINE, weights, "generate", requests, params)
    return {place: output.completions[0].token_ids for chunk in chunks for place, output in chunk}


def wait_for(run: str, replicas: int) -> None:
    """Wait until that many replicas of a run's engine are there."""
    import ray
    from ray import serve

    allocator = allocator_of(run)
    ray.get(allocator.enlarge.remote(KEY, ENGINE, replicas))
    name = engines.application(run, ENGINE)
    while True:
        deployments = serve.status().applications[name].deployments.values()
        if sum(states.get("RUNNING", 0) for states in (one.replica_states for one in deployments)) == replicas:
            return
        time.sleep(0.2)


def main() -> None:
    import ray

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rounds", type=int, nargs="?", default=3)
    parser.add_argument("--requests", type=int, default=4000)
    arguments = parser.parse_args()
    # The replicas that do not answer are idle, and take no time.
    ray.init("local", num_cpus=sum(COUNTS.values()), include_dashboard=False, log_to_driver=False)
    seconds: dict[str, list[float]] = {run: [] for run in COUNTS}
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = model.stage("steps", LocalModel(path=str(shipped.FOLDER / "steps")), cpus=1)
        for run, replicas in COUNTS.items():
            study = load_study(DEMO, [f"store={folder}/{run}", f"resources.engine.replicas={replicas}"])
            store = Store(study.store)
            store.publish(checkpoint, store.new_folder(checkpoint, "one"), "one", {"facts": {}})
            deploy(run, study)
            wait_for(run, replicas)
            answers(run, Weights.of(checkpoint), 600 * replicas)  # Each replica starts its engine.
        for _ in range(arguments.rounds):
            found = []
            for run in COUNTS:
                start = time.perf_counter()
                found.append(answers(run, Weights.of(checkpoint), arguments.requests))
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
