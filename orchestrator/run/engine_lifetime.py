"""The engines of a run end with its driver, however that ends.

Serve keeps applications when the driver that deployed them ends. A run is alive as long as its event log, a named actor
that Ray ends together with the driver. A watchdog deletes the applications of its run once that is gone. It may be lost
as well, so each run also deletes the applications of earlier runs that have ended.
"""

import hashlib
import re
import threading
import time
from typing import Any

from evaluators.imports import IMPORTS
from orchestrator.run.event_log import EventLog

# Keeps an actor on the head node, which is not a spot node.
ON_HEAD = {"node:__internal_head__": 1e-3}
NAMESPACE = "offmodel"
LOOK_SECONDS = 1.0  # between two looks of a watchdog


def application(run: str, engine: str) -> str:
    """The name of an engine's Serve application: short and ASCII, as other characters stop Serve's controller."""
    readable = re.sub(r"[^A-Za-z0-9]+", "-", engine)[:20].strip("-")
    return f"{NAMESPACE}-{run}-{readable}-{hashlib.sha256(engine.encode()).hexdigest()[:8]}"


def start_event_log(run: str) -> Any:
    """The handle of a run's new `EventLog` actor."""
    import ray

    options = {"name": f"{NAMESPACE}-{run}", "namespace": NAMESPACE, "num_cpus": 0, "resources": ON_HEAD}
    return ray.remote(EventLog).options(**options).remote()


def event_log_of(run: str) -> Any:
    """The handle of a run's event log."""
    import ray

    return ray.get_actor(f"{NAMESPACE}-{run}", NAMESPACE)


def note_begun(run: str, calls: list[str]) -> None:
    """Note that a replica has begun with these calls. The note outlives the replica."""
    import ray

    if calls:
        ray.get(event_log_of(run).begin_calls.remote(calls))


class Watchdog:
    """A detached actor that ends with a run, after it has deleted the run's applications."""

    def __init__(self, run: str):
        threading.Thread(target=self._watch, args=(run,), daemon=True).start()

    def _watch(self, run: str) -> None:
        import ray

        while run in _alive():
            time.sleep(LOOK_SECONDS)
        try:
            delete_applications(run)
        finally:
            ray.kill(ray.get_actor(_watchdog(run), NAMESPACE))


def _watchdog(run: str) -> str:
    return f"watchdog-{run}"


def start_watchdog(run: str) -> None:
    import ray

    options = {"lifetime": "detached", "name": _watchdog(run), "namespace": NAMESPACE, "max_restarts": -1}
    ray.remote(Watchdog).options(num_cpus=0, resources=ON_HEAD, **options).remote(run)


def delete_applications(run: str) -> None:
    """Delete a run's applications and wait until their processes have ended."""
    with IMPORTS:
        from ray import serve

    names = [name for name in serve.status().applications if _run(name) == run]
    for blocking in (False, True):  # All at once, and then a wait: the driver may have few seconds left.
        for name in names:
            serve.delete(name, _blocking=blocking)


def delete_applications_of_ended_runs() -> None:
    """Delete the applications of runs that have ended, without waiting."""
    with IMPORTS:
        from ray import serve

    alive = _alive()
    for name in serve.status().applications:
        if _run(name) not in {None, *alive}:
            serve.delete(name, _blocking=False)


def _alive() -> set[str]:
    """The runs whose event log is there."""
    import ray

    return {run for actor in ray.util.list_named_actors(all_namespaces=True) if (run := _run(actor["name"]))}


def _run(name: str) -> str | None:
    """The run in the name of an application or an event log, None in that of anything else."""
    found = re.match(rf"{NAMESPACE}-([0-9a-f]{{8}})(?:-|$)", name)
    return found and found[1]
