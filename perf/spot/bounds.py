"""What no scheduler can beat on this cluster, without starts of engines and trainings, saves and lost work."""

from collections.abc import Iterable

from perf.spot.cluster import Cluster, Preemption
from perf.spot.jobs import Workload


def without_preemptions(workload: Workload, cluster: Cluster) -> float:
    """Seconds: the longest chain, or the work on all GPUs if that is longer."""
    longest = max(job.behind for job in workload.jobs.values())
    return max(longest, workload.gpu_seconds / cluster.gpus)


def with_preemptions(workload: Workload, cluster: Cluster, preemptions: Iterable[Preemption]) -> float:
    """Seconds until the GPUs that are there have given the work, for one who knows each preemption before."""
    changes = [(cluster.boot, cluster.nodes)]
    last = dict.fromkeys(range(cluster.nodes), cluster.boot)  # until when a place is known to be empty
    for each in preemptions:
        back = max(each.until + cluster.boot, last[each.place])
        start = max(each.time, last[each.place])
        if back > start:
            changes += [(start, -1), (back, 1)]
            last[each.place] = back
    left, now, nodes = workload.gpu_seconds / cluster.of_node.gpus, 0.0, 0
    for time, change in sorted(changes):
        if nodes and left <= (time - now) * nodes:
            break
        left -= (time - now) * nodes
        now, nodes = time, nodes + change
    longest = max(job.behind for job in workload.jobs.values())
    return max(now + left / nodes, cluster.boot + longest)
