"""The parts of a model on the nodes of an engine other than its replica's, each in a Ray actor.

A replica and its parts share a placement group, with one bundle for each node. Ray ends the parts with their replica,
and the replica ends if a part does.
"""

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from evaluators.engines.split import Split, hold_a_part, settings_of_vllm
from evaluators.imports import IMPORTS
from orchestrator.run.allocation import Amount
from orchestrator.run.local_weights import local_weights
from orchestrator.store.context import Weights
from orchestrator.store.store import Store


class Part:
    """Runs as a Ray actor with two threads: one holds the part, and one fetches weights."""

    def __init__(self, store: str):
        self._store = Store(store)

    def hold(self, settings: dict[str, Any]) -> None:
        """See `hold_a_part`; `settings` are the arguments of `settings_of_vllm`."""
        use_address_of_ray()
        hold_a_part(settings_of_vllm(**settings))

    def fetch(self, weights: Weights, scratch: Path) -> None:
        """Have the weights in the same folders as the replica has."""
        local_weights(self._store, weights, scratch)

    def forget(self, scratch: Path) -> None:
        shutil.rmtree(scratch, ignore_errors=True)


class OtherNodes:
    """The parts of a replica's model; there is none if the engine is on one node. `part`: what one needs."""

    def __init__(self, store: str, nodes: int, part: Amount):
        self._parts: list[Any] = []
        self._holding: list[Any] = []
        if nodes == 1:
            return
        import ray

        with IMPORTS:
            from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        group = ray.util.get_current_placement_group()
        for bundle in range(1, nodes):
            place = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=bundle)
            options = {"num_cpus": part.cpus, "num_gpus": part.gpus, "max_concurrency": 2, "scheduling_strategy": place}
            self._parts.append(ray.remote(Part).options(**options).remote(store))

    def start(self, settings: dict[str, Any]) -> Split:
        """Let the parts be held; returns the replica's split. `settings` are the arguments of `settings_of_vllm`."""
        split: Split = settings["split"]
        if not self._parts:
            return split
        with IMPORTS:
            from vllm.utils.network_utils import get_open_port

        split = replace(split, address=use_address_of_ray(), port=get_open_port())
        self._holding = [
            part.hold.remote({**settings, "split": replace(split, rank=rank)})
            for rank, part in enumerate(self._parts, start=1)
        ]
        return split

    def fetch(self, weights: Weights, scratch: Path) -> bool:
        """Have the weights on each node, in the same folders as here. False if a part has ended."""
        import ray

        try:
            ray.get([part.fetch.remote(weights, scratch) for part in self._parts])
        except ray.exceptions.RayActorError:
            return False
        return True

    def forget(self, scratch: Path) -> None:
        """Remove the folder of temporary weights from each node."""
        for part in self._parts:
            part.forget.remote(scratch)

    def lost(self) -> bool:
        """Whether a part has ended."""
        import ray

        return bool(self._holding) and bool(ray.wait(self._holding, timeout=0)[0])


def use_address_of_ray() -> str:
    """Let vLLM use the address by which Ray knows this node; returns it."""
    import ray

    os.environ["VLLM_HOST_IP"] = ray.util.get_node_ip_address()
    return os.environ["VLLM_HOST_IP"]
