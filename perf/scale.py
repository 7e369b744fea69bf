"""What studies of 100 to 10,000 trials cost when their stages do nothing: time and memory of plan, run, cached run and
report.

    python -m perf.scale [--trials 100 1000 10000] [--benchmarks 1] [--figure FILE]

Each step has a process of its own, whose peak memory is reported. The exponent is the slope of a line through the
logarithms: 1 if a step grows with the number of trials, 2 if with its square. Numbers of trials are multiples of 20.
"""

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import ray

from orchestrator.plan.build import build_plan
from orchestrator.results.report import write_report
from orchestrator.run import driver
from orchestrator.store.store import Store
from orchestrator.study.schema import Study
from perf.empty_stages import make_study, pending, run, use_empty_stages


@dataclass(frozen=True, kw_only=True)
class Cost:
    seconds: float
    mib: float  # the peak of the process


def seconds_of(act: Callable[..., object], *arguments: object) -> float:
    start = time.perf_counter()
    act(*arguments)
    return time.perf_counter() - start


def plan(study: Study) -> float:
    """The seconds until the plan is known, with the checks before a run."""
    return seconds_of(lambda: pending(build_plan(study)))


def first_run(study: Study) -> float:
    """The seconds of a run from nothing, without the start of Ray."""
    use_empty_stages()
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])  # Ray's processes find perf, which is not installed.
    driver.start_ray(None, study, worker_process_setup_hook=use_empty_stages)
    seconds = seconds_of(run, study)
    ray.shutdown()
    assert pending(build_plan(study)) == 0, "a trial is not done"
    return seconds


def cached_run(study: Study) -> float:
    return seconds_of(run, study)


def report(study: Study) -> float:
    return seconds_of(lambda: write_report(build_plan(study), Store(study.store)))


STEPS = {"plan": plan, "run": first_run, "cached run": cached_run, "report": report}


def cost(step: str, study: Study) -> Cost:
    """What a step costs in a process that does nothing else."""
    seconds = STEPS[step](study)
    return Cost(seconds=seconds, mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def costs(trials: int, benchmarks: int) -> dict[str, Cost]:
    """The costs of a study by step."""
    with tempfile.TemporaryDirectory() as folder:
        study = make_study(trials, str(Path(folder, "store")), benchmarks=benchmarks)
        made, found = build_plan(study), {}
        assert len(made.trials) == trials
        print(f"{trials:,} trials, {len(made.stages):,} distinct stages", flush=True)
        for step in STEPS:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                found[step] = process.submit(cost, step, study).result()
            print(f"  {step}: {found[step].seconds:.1f} s, {found[step].mib:,.0f} MiB", flush=True)
    return found


def exponent(trials: Sequence[int], values: Sequence[float]) -> float:
    """The power of the number of trials with which the values grow."""
    return float(np.polyfit(np.log(trials), np.log(values), 1)[0])


def draw(trials: Sequence[int], found: Sequence[dict[str, Cost]], path: str) -> None:
    """Time and memory by number of trials, with a dotted line of exponent 1."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for panel, what in zip(panels, ("seconds", "mib"), strict=True):
        for step in STEPS:
            values = [getattr(each[step], what) for each in found]
            panel.plot(trials, values, marker="o", label=f"{step} ({exponent(trials, values):.2f})")
        panel.set(xscale="log", yscale="log", xlabel="trials", ylabel={"seconds": "seconds", "mib": "peak MiB"}[what])
        panel.legend(title="step (exponent)", fontsize="small")
    first = found[0]["run"].seconds
    panels[0].plot(trials, [first * n / trials[0] for n in trials], ":", color="grey")
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--benchmarks", type=int, default=1)
    parser.add_argument("--figure", help="a PNG file to draw")
    arguments = parser.parse_args()
    found = [costs(trials, arguments.benchmarks) for trials in arguments.trials]
    if len(found) > 1:
        for step in STEPS:
            of_time, of_memory = (
                exponent(arguments.trials, [getattr(each[step], what) for each in found]) for what in ("seconds", "mib")
            )
            print(f"{step}: exponent {of_time:.2f} of time, {of_memory:.2f} of memory")
    if arguments.figure:
        draw(arguments.trials, found, arguments.figure)


if __name__ == "__main__":
    main()
