"""What the runs on a cluster ask of Ray's autoscaler.

`request_resources` holds one request for the whole cluster, and each call replaces the last one. So every run notes its
needs in Ray's key-value store, and asks for those of all runs that are alive.
"""

import json
from collections.abc import Iterable

from evaluators.imports import IMPORTS
from orchestrator.run.allocation import Amount
from orchestrator.run.engine_lifetime import NAMESPACE, alive

PREFIX = f"{NAMESPACE}-demand-"


def ask(run: str, needs: Iterable[Amount]) -> None:
    """Ask that the nodes have room for all of these at once, each on one node, beside what other runs need."""
    with IMPORTS:
        from ray.experimental import internal_kv

    bundles = [{name: n for name, n in {"CPU": each.cpus, "GPU": each.gpus}.items() if n} for each in needs]
    internal_kv._internal_kv_put(f"{PREFIX}{run}", json.dumps([bundle for bundle in bundles if bundle]))
    _ask_for_all()


def withdraw(run: str) -> None:
    """Ask for nothing more for a run."""
    with IMPORTS:
        from ray.experimental import internal_kv

    internal_kv._internal_kv_del(f"{PREFIX}{run}")
    _ask_for_all()


def _ask_for_all() -> None:
    with IMPORTS:
        from ray.autoscaler.sdk import request_resources
        from ray.experimental import internal_kv

    runs, bundles = alive(), list[dict[str, float]]()
    for key in internal_kv._internal_kv_list(PREFIX):
        value = internal_kv._internal_kv_get(key) if key.decode().removeprefix(PREFIX) in runs else None
        bundles += json.loads(value) if value else []  # Another run may have withdrawn its own meanwhile.
    request_resources(bundles=bundles)
