"""The engines of a run behind Ray Serve, one deployment for each model architecture and for each model behind an API.

A replica (replica.py) starts its engine with the checkpoint of its first call, and loads other checkpoints of that
architecture, and LoRA adapters, without a restart.
"""

import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

from evaluators.imports import IMPORTS
from orchestrator.run.api_replica import APIReplica
from orchestrator.run.engine_client import EngineLost, ask_despite_losses
from orchestrator.run.engine_lifetime import application
from orchestrator.run.replica import EngineSpec, Replica
from orchestrator.run.streams import Failed
from orchestrator.store.context import Weights
from orchestrator.study.schema import Study

POLL_SECONDS = 0.5  # between two looks at whether the engines have started


class Engines:
    """The engines of one run. Every run has its own, so that one run can end before another."""

    def __init__(self, run: str, study: Study, engines: list[str], lora_rank: int):
        """Deploy the engines, without waiting for them; `lora_rank` is the largest rank to serve."""
        with IMPORTS:
            from ray import serve

        logging.getLogger("ray.serve").setLevel(logging.ERROR)  # Serve sets its own level when it is imported.
        resources = study.resources.engine
        spec = EngineSpec(
            store=study.store,
            dtype=study.dtype,
            max_model_len=study.max_model_len,
            lora_rank=lora_rank,
            threads=max(1, int(resources.cpus)),
            timeout=resources.timeout_seconds,
        )
        options: dict[str, Any] = {
            "max_ongoing_requests": 1000,
            "graceful_shutdown_wait_loop_s": 0.1,
            "graceful_shutdown_timeout_s": 1,  # A replica ends with its run, when nobody needs its results.
        }
        deployment = serve.deployment(
            Replica,
            num_replicas=resources.replicas,
            ray_actor_options={
                "num_cpus": resources.cpus,
                "num_gpus": resources.gpus,
                "runtime_env": {"env_vars": {"OMP_NUM_THREADS": str(spec.threads)}},
            },
            **options,
        )
        # One replica for all stages, so that its limit on concurrent requests holds for the whole run.
        of_api = serve.deployment(APIReplica, num_replicas=1, ray_actor_options={"num_cpus": 0}, **options)
        self._names = [application(run, name) for name in engines]

        def deployed(name: str) -> Any:
            served = study.models[name].served if name in study.models else None
            return deployment.bind(spec) if served is None else of_api.bind(served, resources.timeout_seconds)

        self._began, self._ready = time.time(), 0.0
        self._finished = threading.Event()
        self._waiting = threading.Thread(target=self._wait, daemon=True)
        if not engines:  # Only grading is left.
            return
        serve.start(proxy_location="Disabled", logging_config={"log_level": "ERROR"})
        targets = [
            serve.RunTarget(deployed(engine), name=name, route_prefix=None)
            for engine, name in zip(engines, self._names, strict=True)
        ]
        serve.run_many(targets, wait_for_applications_running=False)
        self._waiting.start()

    def _wait(self) -> None:
        with IMPORTS:
            from ray import serve

        while not self._finished.wait(POLL_SECONDS):
            found = serve.status().applications
            if all(found[name].status == "RUNNING" for name in self._names):
                self._ready = time.time()
                return

    def finish(self) -> None:
        """Do not wait any more for the engines to start."""
        self._finished.set()
        if self._waiting.is_alive():
            self._waiting.join()

    @property
    def started(self) -> tuple[float, float] | None:
        """The Unix times at which the engines were deployed, and at which all were ready for a call."""
        return (self._began, self._ready) if self._ready else None


def batch(handle: Any, weights: Weights, method: str, requests: list, arguments: tuple) -> Iterator[list]:
    """The chunks of `Replica.call`. Raises EngineLost, with the reason, where the replica is lost."""
    from ray.exceptions import ObjectLostError, RayActorError

    reason = ""
    try:
        for chunk in handle.call.remote(weights, method, requests, arguments):
            if isinstance(chunk, Failed):
                reason = chunk.reason
            else:
                yield chunk
    except (RayActorError, ObjectLostError) as error:
        raise EngineLost(reason or str(error)) from None


def call(
    run: str, retries: int, engine: str, weights: Weights, method: str, requests: list, *arguments: Any
) -> Iterator[list[tuple[int, Any]]]:
    """Call `generate` or `score` of an engine from any process of the cluster; see Replica.call and
    ask_despite_losses."""
    with IMPORTS:
        from ray import serve

    handle = serve.get_app_handle(application(run, engine)).options(stream=True)

    def ask(requests: list, arguments: tuple) -> Iterator[list[tuple[int, Any]]]:
        return batch(handle, weights, method, requests, arguments)

    return ask_despite_losses(ask, retries, method, requests, arguments)
