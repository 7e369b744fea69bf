"""The engines of a run end with its driver, however that ends.

Serve keeps applications when the driver that deployed them ends. A run is alive as long as its event log, a named actor
that Ray ends together with the driver. A watchdog (watchdog.py) deletes the applications of its run once that is gone.
It may be lost as well, so each run also deletes the applications of earlier runs that have ended.
"""

import hashlib
import re
from typing import Any

from evaluators.imports import IMPORTS
from orchestrator.run.event_log import EventLog

# Keeps an actor on the head node, which is not a spot node.
ON_HEAD = {"node:__internal_head__": 1e-3}
NAMESPACE = "offmodel"


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

    running = alive()
    for name in serve.status().applications:
        if _run(name) not in {None, *running}:
            serve.delete(name, _blocking=False)


def alive() -> set[str]:
    """The runs whose event log is there."""
    import ray

    return {run for actor in ray.util.list_named_actors(all_namespaces=True) if (run := _run(actor["name"]))}


def _run(name: str) -> str | None:
    """The run in the name of an application or an event log, None in that of anything else."""
    found = re.match(rf"{NAMESPACE}-([0-9a-f]{{8}})(?:-|$)", name)
    return found and found[1]
