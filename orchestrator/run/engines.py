"""The engines of a run behind Ray Serve, one deployment for each model architecture and for each model behind an API.

A replica (replica.py) starts its engine with the checkpoint of its first call, and loads other checkpoints of that
architecture, and LoRA adapters, without a restart.
"""

import logging
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from evaluators.engines.api import APIModel
from evaluators.imports import IMPORTS
from orchestrator.run.allocation import Amount
from orchestrator.run.allocator import ReplicasOf
from orchestrator.run.api_replica import APIReplica
from orchestrator.run.engine_client import EngineLost, ask_despite_losses
from orchestrator.run.engine_lifetime import application
from orchestrator.run.replica import EngineSpec, Replica
from orchestrator.run.streams import Failed
from orchestrator.store.context import Weights
from orchestrator.study.schema import Study


def shares(study: Study, engines: Iterable[str]) -> dict[str, tuple[Amount, int]]:
    """What a replica of each engine needs, and the most replicas. A model behind an API needs nothing."""
    resources = study.resources.engine
    needs = Amount(cpus=resources.cpus, gpus=resources.gpus)
    return {name: (needs, resources.replicas) for name in engines if _served(study, name) is None}


def _served(study: Study, engine: str) -> APIModel | None:
    return study.models[engine].served if engine in study.models else None


def deploy(run: str, study: Study, engines: Collection[str], lora_rank: int) -> None:
    """Deploy the engines of a run; `lora_rank` is the largest rank to serve. Every run has its own, so that one run can
    end before another. An engine has no replica until the run's allocator gives it one."""
    if not engines:  # Only grading is left.
        return
    with IMPORTS:
        from ray import serve
        from ray.serve.config import AutoscalingConfig, AutoscalingPolicy

    logging.getLogger("ray.serve").setLevel(logging.ERROR)  # Serve sets its own level when it is imported.
    resources = study.resources.engine
    spec = EngineSpec(
        run=run,
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
        "graceful_shutdown_timeout_s": 1,  # A replica ends when nobody needs its results.
    }

    def deployed(name: str) -> Any:
        served = _served(study, name)
        if served is not None:
            # One replica for all stages, so that its limit on concurrent requests holds for the whole run.
            of_api = serve.deployment(APIReplica, num_replicas=1, ray_actor_options={"num_cpus": 0}, **options)
            return of_api.bind(served, resources.timeout_seconds)
        scaling = AutoscalingConfig(
            min_replicas=0,
            initial_replicas=0,
            max_replicas=resources.replicas,
            upscale_delay_s=0,
            downscale_delay_s=0,
            downscale_to_zero_delay_s=0,
            policy=AutoscalingPolicy(policy_function=ReplicasOf, policy_kwargs={"run": run, "engine": name}),
        )
        actor = {
            "num_cpus": resources.cpus,
            "num_gpus": resources.gpus,
            "runtime_env": {"env_vars": {"OMP_NUM_THREADS": str(spec.threads)}},
        }
        return serve.deployment(Replica, autoscaling_config=scaling, ray_actor_options=actor, **options).bind(spec)

    serve.start(proxy_location="Disabled", logging_config={"log_level": "ERROR"})
    targets = [serve.RunTarget(deployed(name), name=application(run, name), route_prefix=None) for name in engines]
    serve.run_many(targets, wait_for_applications_running=False)


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
