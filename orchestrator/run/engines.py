"""The engines of a run behind Ray Serve, one deployment for each model architecture and for each model behind an API.

A replica (replica.py) starts its engine with the checkpoint of its first call, and loads other checkpoints of that
architecture, and LoRA adapters, without a restart.
"""

import logging
import math
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from evaluators.engines.api import APIModel
from evaluators.engines.split import Split
from evaluators.imports import IMPORTS
from orchestrator.run.allocation import Amount, Replicas
from orchestrator.run.allocator import Key, ReplicasOf, replicas_for
from orchestrator.run.api_replica import APIReplica, APISpec
from orchestrator.run.engine_client import EngineLost, ask_despite_losses
from orchestrator.run.engine_lifetime import ON_HEAD, application, event_log_of
from orchestrator.run.replica import EngineSpec, Replica
from orchestrator.run.spread import spread
from orchestrator.run.streams import Failed
from orchestrator.run.streams import Settings as EngineSettings
from orchestrator.store.context import Weights
from orchestrator.study.resources import EngineResources
from orchestrator.study.schema import Study


def shares(study: Study, engines: Iterable[str]) -> dict[str, Replicas]:
    """The replicas that each engine may have. A model behind an API needs nothing."""
    return {name: _replicas(study.resources.of_engine(name)) for name in engines if _served(study, name) is None}


def _replicas(engine: EngineResources) -> Replicas:
    return Replicas(needs=Amount(cpus=engine.cpus, gpus=engine.gpus), most=engine.replicas, nodes=engine.nodes)


def most(study: Study) -> Amount:
    """What a study uses at most."""
    cpus, gpus = study.resources.cpus, study.resources.gpus
    return Amount(cpus=math.inf if cpus is None else cpus, gpus=math.inf if gpus is None else gpus)


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
    options: dict[str, Any] = {
        "max_ongoing_requests": 1000,
        "graceful_shutdown_wait_loop_s": 0.1,
        "graceful_shutdown_timeout_s": 1,  # A replica ends when nobody needs its results.
    }

    def deployed(name: str) -> Any:
        served, resources = _served(study, name), study.resources.of_engine(name)
        if served is not None:
            # One replica for all stages, so that its limit on concurrent requests holds for the whole run. On the head,
            # since it would keep any other node from being idle.
            on_head = {"num_cpus": 0, "resources": ON_HEAD}
            of_api = serve.deployment(APIReplica, num_replicas=1, ray_actor_options=on_head, **options)
            return of_api.bind(
                APISpec(
                    run=run,
                    name=name,
                    model=served,
                    price=study.cost_assumptions.api.get(name),
                    timeout=resources.timeout_seconds,
                )
            )
        scaling = AutoscalingConfig(
            min_replicas=0,
            initial_replicas=0,
            max_replicas=resources.replicas,
            upscale_delay_s=0,
            downscale_delay_s=0,
            downscale_to_zero_delay_s=0,
            policy=AutoscalingPolicy(policy_function=ReplicasOf, policy_kwargs={"run": run, "engine": name}),
        )
        split = Split(
            tensor_parallel=resources.tensor_parallel,
            pipeline_parallel=resources.pipeline_parallel_size,
            nodes=resources.nodes,
        )
        part = _replicas(resources).part
        spec = EngineSpec(
            run=run,
            engine=name,
            store=study.store,
            dtype=study.dtype,
            max_model_len=study.max_model_len,
            lora_rank=lora_rank,
            threads=max(1, int(resources.cpus / resources.processes)),
            split=split,
            part=part,
            timeout=resources.timeout_seconds,
        )
        environment = {"OMP_NUM_THREADS": str(spec.threads)}
        if resources.batch_invariant:
            environment["VLLM_BATCH_INVARIANT"] = "1"
        actor = {"num_cpus": part.cpus, "num_gpus": part.gpus, "runtime_env": {"env_vars": environment}}
        of_engine = serve.deployment(Replica, autoscaling_config=scaling, ray_actor_options=actor, **options)
        if split.nodes > 1:
            bundles = [{"CPU": part.cpus, "GPU": part.gpus}] * split.nodes
            of_engine = of_engine.options(placement_group_bundles=bundles, placement_group_strategy="PACK")
        return of_engine.bind(spec)

    serve.start(proxy_location="Disabled", logging_config={"log_level": "ERROR"})
    targets = [serve.RunTarget(deployed(name), name=application(run, name), route_prefix=None) for name in engines]
    serve.run_many(targets, wait_for_applications_running=False)


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who calls the engines of a run: `key` is its use of an engine. `note` is told how an engine that answers is
    set."""

    run: str
    key: Key
    retries: int
    note: Callable[[Mapping[str, Any]], None] = lambda settings: None


def batch(
    run: str, engine: str, weights: Weights, method: str, requests: list, arguments: tuple, alone: bool = False
) -> Iterator[Any]:
    """What `Replica.call` yields. Raises EngineLost, with the reason, where the replica is lost."""
    with IMPORTS:
        import ray
        from ray import serve
        from ray.exceptions import ObjectLostError, OutOfMemoryError, RayActorError

    handle = serve.get_app_handle(application(run, engine)).options(stream=True)
    id, log, reason = uuid.uuid4().hex, event_log_of(run), ""
    try:
        for chunk in handle.call.remote(id, weights, method, requests, arguments, alone):
            if isinstance(chunk, Failed):
                reason = chunk.reason
            else:
                yield chunk
        log.end_call.remote(id)
    except (RayActorError, ObjectLostError, OutOfMemoryError) as error:  # The last if Ray has ended the process.
        raise EngineLost(reason or str(error), begun=ray.get(log.end_call.remote(id))) from None


def call(
    caller: Caller, engine: str, weights: Weights, method: str, requests: list, *arguments: Any
) -> Iterator[list[tuple[int, Any]]]:
    """Call `generate` or `score` of an engine from any process of the cluster; see Replica.call and
    ask_despite_losses. Replicas are added for many requests."""
    replicas = replicas_for(caller.run, caller.key, engine, len(requests))

    def ask(requests: list, arguments: tuple, alone: bool) -> Iterator[list[tuple[int, Any]]]:
        for chunk in batch(caller.run, engine, weights, method, requests, arguments, alone):
            if isinstance(chunk, EngineSettings):
                caller.note(chunk.values)
            else:
                yield chunk

    def part(requests: list) -> Iterator[list[tuple[int, Any]]]:
        return ask_despite_losses(ask, caller.retries, method, requests, arguments)

    return part(requests) if replicas is None else spread(part, requests, replicas)
