"""A sweep on Ray's autoscaler, from a head without CPUs to four workers and back: makespan and idle nodes.

    python -m perf.autoscaling [--seconds 30] [--workers 4] [--lose]

A training sleeps for that many seconds, and other stages are empty (perf/empty_stages.py). All else is real: Ray, its
autoscaler, the allocator, leases, Ray Tune and MLflow. Each node is a raylet on this machine (perf/ray_head.py). The
ideal makespan is the trainings' time over the workers, or one training if that is longer. With `--lose` a worker is
killed in the middle of its training.
"""

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.plan.build import build_plan
from orchestrator.run import driver, stage_runner
from orchestrator.store.context import StageContext
from perf.empty_stages import EmptyStage, make_study, pending, run, use_empty_stages
from perf.ray_head import Head, head, wait

TRIALS = 20
CPUS, OF_TRAINING = 2, 1.5  # of a worker: the rest is for engines, which are not started


class SleepingTraining(EmptyStage):
    def __init__(self, seconds: float):
        super().__init__("train")
        self._seconds = seconds

    def run(self, context: StageContext) -> dict:
        time.sleep(self._seconds)
        return super().run(context)


def sleeping_trainings(seconds: float) -> Callable[[], None]:
    """What Ray calls in every process that it starts."""

    def setup() -> None:
        use_empty_stages()
        kinds: Any = stage_runner.KINDS
        kinds["train"] = SleepingTraining(seconds)

    return setup


class Nodes(threading.Thread):
    """Counts the workers of a cluster once a second, until it is told to end."""

    def __init__(self, cluster: Head) -> None:
        super().__init__(daemon=True)
        self._cluster = cluster
        self.now, self.most, self.node_seconds, self.ended = 0, 0, 0.0, False

    def run(self) -> None:
        last = time.monotonic()
        while not self.ended:
            self.now = len(self._cluster.workers)
            self.node_seconds += self.now * (time.monotonic() - last)
            self.most, last = max(self.most, self.now), time.monotonic()
            time.sleep(1)


def lose_a_worker(cluster: Head, seconds: float) -> None:
    """Kill the raylet of a worker while it trains."""
    while not cluster.workers:
        time.sleep(1)
    time.sleep(seconds / 2)
    cluster.workers[-1].kill()
    print("a worker is lost", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="of a training")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--lose", action="store_true")
    arguments = parser.parse_args()
    types = {"worker": {"resources": {"CPU": CPUS}, "node_config": {}, "max_workers": arguments.workers}}
    setup = sleeping_trainings(arguments.seconds)
    setup()
    os.environ["RAY_AUTH_MODE"] = "disabled"
    with tempfile.TemporaryDirectory() as folder, head(Path(folder), cpus=0, workers=types) as cluster:
        study = make_study(TRIALS, str(Path(folder, "store")), OF_TRAINING)
        driver.start_ray(cluster.address, study, worker_process_setup_hook=setup)
        nodes = Nodes(cluster)
        nodes.start()
        if arguments.lose:
            threading.Thread(target=lose_a_worker, args=(cluster, arguments.seconds), daemon=True).start()
        start = time.monotonic()
        run(study, cluster.address)
        makespan = time.monotonic() - start
        plan = build_plan(study)
        assert pending(plan) == 0, "a trial is not done"
        wait(lambda: nodes.now == 0, lambda: "the nodes do not end")
        nodes.ended = True
        trainings = sum(stage.kind == "train" for stage in plan.stages)
    work = trainings * arguments.seconds
    ideal = max(arguments.seconds, work / arguments.workers)
    print(f"{trainings} trainings of {arguments.seconds:g} s on up to {nodes.most} workers, and none at the end")
    print(f"makespan {makespan:.0f} s: {makespan / ideal:.2f} times the ideal {ideal:.0f} s")
    print(f"{nodes.node_seconds:.0f} s of nodes, of which {1 - work / nodes.node_seconds:.0%} without a training")


if __name__ == "__main__":
    main()
