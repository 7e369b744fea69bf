"""How a vLLM engine starts, and how the processes of several machines hold one model together."""

import os
from dataclasses import dataclass
from typing import Any

MAX_LORAS = 8  # adapters that share a step
CACHED_LORAS = 32  # adapters in the memory of the CPU, from which a step takes them
SEQUENCES, BATCHED_TOKENS, GPU_MEMORY = 256, 8192, 0.9  # vLLM's limits of a step, and its share of a GPU's memory
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # that vLLM supports as `max_lora_rank`


@dataclass(frozen=True, kw_only=True)
class Split:
    """`tensor_parallel` processes share each layer, and `pipeline_parallel` groups of them share the layers out.

    They are on `nodes` machines in equal parts. The engine is on the one with rank 0, and `hold_a_part` runs on the
    others, which reach it at `address` and `port`.
    """

    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    nodes: int = 1
    rank: int = 0
    address: str = "127.0.0.1"
    port: int = 0


ALONE = Split()  # one process


def settings_of_vllm(
    checkpoint: str,
    dtype: str,
    max_model_len: int | None,
    lora_rank: int,
    threads: int | None,
    split: Split,
    memory_level: int,
) -> dict[str, Any]:
    """What vLLM is started with; the arguments are those of `Engine`. Sets the environment that vLLM reads."""
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    if threads:
        os.environ["OMP_NUM_THREADS"] = str(threads)
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    import torch

    on_cpu = not torch.cuda.is_available()
    if on_cpu and threads:
        torch.set_num_threads(threads)
    settings = {
        "model": checkpoint,
        "dtype": dtype,
        "max_model_len": max_model_len,
        "enable_lora": lora_rank > 0,
        "max_lora_rank": next((rank for rank in LORA_RANKS if rank >= lora_rank), lora_rank),
        "max_loras": MAX_LORAS,
        "max_cpu_loras": CACHED_LORAS,
        "scheduling_policy": "priority",
        "enforce_eager": on_cpu,
        "tensor_parallel_size": split.tensor_parallel,
        "pipeline_parallel_size": split.pipeline_parallel,
        "distributed_executor_backend": "mp" if split.tensor_parallel * split.pipeline_parallel > 1 else "uni",
        "worker_extension_cls": "evaluators.engines.worker.WorkerExtension",
        # Seeded requests fail on the CPU when a prompt is prefilled in chunks.
        "enable_chunked_prefill": not on_cpu,
        "disable_log_stats": True,
        **_limits(memory_level, on_cpu),
    }
    if split.nodes > 1:
        settings |= {
            "nnodes": split.nodes,
            "node_rank": split.rank,
            "master_addr": split.address,
            "master_port": split.port,
        }
    return settings


def hold_a_part(settings: dict[str, Any]) -> None:
    """Hold this machine's part of a model until one of the processes here ends. The engine's end does not end them.

    `settings` are the engine's `settings_of_vllm`, with this machine's rank. `vllm serve --headless` does the same.
    """
    from vllm.engine.arg_utils import EngineArgs
    from vllm.v1.executor.multiproc_executor import MultiprocExecutor

    config = EngineArgs(**settings).create_engine_config(headless=True)
    MultiprocExecutor(config, monitor_workers=False).start_worker_monitor(inline=True)


def _limits(level: int, on_cpu: bool) -> dict[str, Any]:
    """vLLM's settings for a level of memory: its own for level 0."""
    if not level:
        return {}
    limits: dict[str, Any] = {"max_num_seqs": SEQUENCES >> level}
    if not on_cpu:  # There a whole prompt must fit into a step.
        limits |= {
            "max_num_batched_tokens": BATCHED_TOKENS >> level,
            "gpu_memory_utilization": GPU_MEMORY - 0.1 * level,
        }
    return limits
