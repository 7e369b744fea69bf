"""Faults of an engine in the middle of 2,000 requests: its process is killed, one request kills it, it has no memory.

    python -m perf.faults.engines [requests]

The requests, of seeded samples, go to vLLM behind a real Ray Serve. In each case every request must be answered exactly
once, with the completion of an undisturbed run. Only the request that kills its engine is answered with an error.
"""

import argparse
import os
import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import psutil

from orchestrator.run import engines
from orchestrator.run.driver import start_ray
from orchestrator.run.replica import Replica
from perf.processes import command_of, send
from perf.served import Served, demo, demo_with_checkpoint, seeded_samples

SEQUENCES = 200  # for more in one step there is no memory


class Poisoned(Replica):
    """Its process ends at the middle request."""

    def _start(self, base: str) -> Any:
        engine = super()._start(base)
        begin, poison = engine.begin_generate, int(os.environ["OFFMODEL_POISON"])

        def begin_or_die(requests: list, *arguments: Any, **options: Any) -> Any:
            if any(request.number == poison for request in requests):
                os._exit(1)
            return begin(requests, *arguments, **options)

        engine.begin_generate = begin_or_die  # type: ignore[method-assign, assignment]
        return engine


class Hungry(Replica):
    """Its engine has no memory for many sequences in a step."""

    def _start(self, base: str) -> Any:
        engine = super()._start(base)
        inner = engine._llm.llm_engine
        step = inner.step

        def hungry() -> Any:
            if len(inner.engine_core.engine_core.scheduler.running) > SEQUENCES:
                raise MemoryError("for so many sequences")
            return step()

        inner.step = hungry
        return engine


def undisturbed(results: Iterator[tuple[int, Any]], half: int) -> Iterator[tuple[int, Any]]:
    return results


def killed(results: Iterator[tuple[int, Any]], half: int) -> Iterator[tuple[int, Any]]:
    """The results, of which the second half come after the replica's process was killed."""
    for number, pair in enumerate(results):
        if number == half:
            family = psutil.Process().children(recursive=True)
            replicas = [one for one in family if "ray::ServeReplica" in " ".join(command_of(one))]
            assert replicas, "there is no replica to kill"
            send(replicas, signal.SIGKILL)
        yield pair


def main() -> None:
    import ray

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("requests", type=int, nargs="?", default=2000)
    n = parser.parse_args().requests
    poison = n // 2
    cases: dict[str, tuple[type[Replica], Callable]] = {
        "undisturbed": (Replica, undisturbed),
        "a replica is killed": (Replica, killed),
        "a request kills its engine": (Poisoned, undisturbed),
        "an engine has too little memory": (Hungry, undisturbed),
    }
    os.environ["OFFMODEL_POISON"] = str(poison)
    start_ray(None, demo("resources.cpus=1"))
    calm: dict[int, tuple[int, ...]] = {}
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, (replica, disturb)) in enumerate(cases.items()):
            engines.Replica = replica  # type: ignore[misc]
            served = Served(f"case{number}", demo_with_checkpoint(f"{folder}/{number}"))
            pairs = list(disturb(served.call(seeded_samples(n), retries=2), n // 2))
            served.end()
            times = Counter(place for place, _ in pairs)
            errors = {place: output.error for place, output in pairs if output.error is not None}
            found = {place: output.completions[0].token_ids for place, output in pairs if output.error is None}
            calm = calm or found
            once = sorted(times) == list(range(n)) and set(times.values()) == {1}
            expected = {poison} if replica is Poisoned else set()
            equal = sum(calm[place] == tokens for place, tokens in found.items())
            good = once and set(errors) == expected and equal == len(found)
            bad += not good
            answered = "each answered once" if once else "NOT each answered once"
            print(
                f"{name}: {n:,} requests, {answered}, {equal:,} as undisturbed, errors: {errors or 'none'}", flush=True
            )
    ray.shutdown()
    raise SystemExit(bool(bad))


if __name__ == "__main__":
    main()
