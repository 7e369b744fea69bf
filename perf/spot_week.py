"""A simulated week of a study on 64 spot GPUs: makespan, cost and waste of three schedulers, beside two bounds.

    python -m perf.spot_week [--seeds 10] [--between 12] [--of-node 8] [--price 2.5] [--on-demand 5] ...

The stages are those of real plans (perf/spot/studies.py), with the times of the cost model. Nodes are preempted at
random, the same for all schedulers; an interval is that of the mean over these draws. `ours` is the real allocator.
Prices per GPU hour, start times, the speed of the store and that of trainings on several nodes are assumptions of ours.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import t

from orchestrator.plan.build import build_plan
from perf.spot import bounds
from perf.spot.cluster import HOUR, Cluster, preemptions_of
from perf.spot.jobs import Workload, workload_of
from perf.spot.schedulers import OURS, SCHEDULERS, Scheduler
from perf.spot.simulation import Simulation
from perf.spot.studies import studies
from perf.spot.waste import GpuSeconds

GPUS = 64
WASTE = {
    "boots": "boots",
    "starts": "starts",
    "saves": "saves",
    "lost": "lost work",
    "across": "trainings on several nodes",
    "engines": "idle engines",
    "free": "free GPUs",
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A row of the table. `price`: US dollars of a GPU hour."""

    name: str
    workload: Workload
    cluster: Cluster
    scheduler: Scheduler
    price: float


def cases_of(workload: Workload, cluster: Cluster, price: float, on_demand: float) -> list[Case]:
    ours = Case(name="ours", workload=workload, cluster=cluster, scheduler=OURS, price=price)
    as_before = replace(workload, between_saves=lambda every, _: every)
    always = replace(cluster, between=float("inf"))
    few, all_at_once = replace(workload, trials_at_once=4), replace(workload, trials_at_once=len(workload.trials))
    return [
        *(replace(ours, name=each.name, scheduler=each) for each in SCHEDULERS),
        replace(ours, name="ours, saves every 300 s", workload=as_before),
        replace(ours, name="ours without notice", cluster=replace(cluster, notice=0.0)),
        replace(ours, name="ours, 4 trials at once", workload=few),
        replace(ours, name="ours, all trials at once", workload=all_at_once),
        replace(ours, name="ours, on demand", cluster=always, price=on_demand),
    ]


def run(case: Case, seed: int) -> tuple[float, GpuSeconds]:
    """The makespan in seconds, and what was spent."""
    simulation = Simulation(case.workload, case.cluster, case.scheduler, preemptions_of(case.cluster, seed))
    simulation.run()
    return simulation.now, simulation.spent


def mean(values: Sequence[float]) -> str:
    """The mean and half of its 95 % interval."""
    if len(values) < 2 or np.ptp(values) == 0:
        return f"{np.mean(values):,.0f}"
    half = float(t.ppf(0.975, len(values) - 1)) * np.std(values, ddof=1) / len(values) ** 0.5
    return f"{np.mean(values):,.0f} ± {half:,.0f}"


def row(case: Case, seeds: range) -> str:
    outcomes = [run(case, seed) for seed in seeds]
    hours = [makespan / HOUR for makespan, _ in outcomes]
    paid = [spent.paid / HOUR for _, spent in outcomes]
    known = [
        bounds.with_preemptions(case.workload, case.cluster, preemptions_of(case.cluster, seed)) / HOUR
        for seed in seeds
    ]
    whole = sum(spent.paid for _, spent in outcomes)
    shares = [sum(getattr(spent, name) for _, spent in outcomes) / whole for name in WASTE]
    cells = [
        case.name,
        mean(hours),
        f"{np.mean(np.divide(hours, known)):.2f}",
        mean([one / case.cluster.of_node.gpus for one in paid]),
        mean([one * case.price / 1000 for one in paid]),
        *(f"{round(share, 3) + 0.0:.1%}" for share in shares),
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="draws of preemptions")
    parser.add_argument("--between", type=float, default=12.0, help="mean hours between two preemptions of a node")
    parser.add_argument("--of-node", type=int, default=8, choices=(2, 4, 8), help="GPUs of a node")
    parser.add_argument("--price", type=float, default=2.5, help="US dollars of a spot GPU hour")
    parser.add_argument("--on-demand", type=float, default=5.0, help="US dollars of a GPU hour on demand")
    parser.add_argument("--prompts", type=int, default=30_000, help="of each teacher")
    parser.add_argument("--study-seeds", type=int, default=3, help="seeds of the studies")
    arguments = parser.parse_args()
    cluster = Cluster(
        nodes=GPUS // arguments.of_node,
        gpus_of_node=arguments.of_node,
        between=arguments.between * HOUR,
    )
    workload = workload_of([build_plan(study) for study in studies(arguments.prompts, arguments.study_seeds)])
    seeds, work = range(arguments.seeds), workload.gpu_seconds / HOUR
    print(f"{len(workload.trials)} trials, {len(workload.jobs)} stages, {work:,.0f} GPU hours of work")
    print(f"| | makespan, h | to the bound | node hours | thousand dollars | {' | '.join(WASTE.values())} |")
    print(f"|{'---|' * (5 + len(WASTE))}")
    known = [bounds.with_preemptions(workload, cluster, preemptions_of(cluster, seed)) / HOUR for seed in seeds]
    least = [f"{work / cluster.of_node.gpus:,.0f}", f"{work * arguments.price / 1000:,.0f}", *[""] * len(WASTE)]
    clairvoyant = {"bound": [bounds.without_preemptions(workload, cluster) / HOUR], "bound, knows preemptions": known}
    for name, hours in clairvoyant.items():
        print(f"| {' | '.join([name, mean(hours), f'{np.mean(hours) / np.mean(known):.2f}', *least])} |")
    for case in cases_of(workload, cluster, arguments.price, arguments.on_demand):
        print(row(case, seeds), flush=True)


if __name__ == "__main__":
    main()
