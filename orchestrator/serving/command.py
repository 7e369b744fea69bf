"""The command that starts vLLM's OpenAI-compatible server for one base model and the students trained from it."""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.serving.models import ServedModel, checkpoint, folders
from orchestrator.store.store import Store
from orchestrator.study.schema import Study


@dataclass(frozen=True, kw_only=True)
class ServerCommand:
    arguments: list[str]
    environment: Mapping[str, str]


def server_command(
    models: list[ServedModel], study: Study, store: Store, lora_rank: int, port: int, key: str, gpus: str
) -> ServerCommand:
    """Serve these models, which share their full weights, on a port of this machine for whoever has the key. `gpus`
    are the numbers of the GPUs, "" for the CPU."""
    base = models[0].base
    engine = study.resources.of_engine(base.runtime.engine)
    own = [model.name for model in models if model.adapter is None]
    adapters = dict(folders(models, store))
    arguments = [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", checkpoint(models[0], store)),
        *("--served-model-name", *(own or [base.address])),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--dtype", study.dtype),
        *("--tensor-parallel-size", str(engine.tensor_parallel)),
        *("--pipeline-parallel-size", str(engine.pipeline_parallel_size)),
        "--disable-uvicorn-access-log",
    ]
    if study.max_model_len is not None:
        arguments += ["--max-model-len", str(study.max_model_len)]
    if adapters:
        arguments += ["--enable-lora", "--max-lora-rank", str(lora_rank), "--lora-modules"]
        arguments += [json.dumps({"name": name, "path": path}) for name, path in adapters.items()]
    environment = {"VLLM_API_KEY": key, "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "WARNING"}
    if engine.gpus:
        environment["CUDA_VISIBLE_DEVICES"] = gpus
    else:
        threads = str(max(1, int(engine.cpus)))
        environment |= {"OMP_NUM_THREADS": threads, "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
        environment.setdefault("VLLM_CPU_KVCACHE_SPACE", os.environ.get("VLLM_CPU_KVCACHE_SPACE", "1"))
        arguments += ["--enforce-eager", "--no-enable-chunked-prefill"]
        arguments += ["--worker-extension-cls", "evaluators.engines.worker.WorkerExtension"]
    return ServerCommand(arguments=arguments, environment=environment)
