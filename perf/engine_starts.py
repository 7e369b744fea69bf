"""Eight trained students on four benchmarks: the engine of a study, beside an engine start for each student.

    python -m perf.engine_starts [--store FOLDER] [--small]

FOLDER is the store of a finished `make demo`; without it the demo runs first. The time of the study's engine includes
the start of Ray, of Ray Serve and of the engine. The other way is a process for each student that starts vLLM with the
adapter and generates for all four benchmarks, as a script for one model does. One thread each.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from orchestrator.run.driver import start_ray
from orchestrator.store.checkpoints import adapter_of, checkpoint_of
from orchestrator.store.store import Store
from perf.served import Ask, Served, asks_of, finished_demo

STUDENTS, BENCHMARKS = 8, 4
ALONE = """
import json, sys, vllm
from vllm.lora.request import LoRARequest
job = json.load(open(sys.argv[1]))
llm = vllm.LLM(job["checkpoint"], dtype="float32", max_model_len=job["max_model_len"], enable_lora=True,
               max_lora_rank=job["rank"], enforce_eager=True, enable_chunked_prefill=False)
for chats, params in job["benchmarks"]:
    adapter = LoRARequest("student", 1, job["adapter"])
    llm.chat(chats, vllm.SamplingParams(**params), use_tqdm=False, lora_request=adapter)
"""


def params_of(ask: Ask) -> dict[str, Any]:
    params = ask.arguments[0]
    # A token for a letter of multiple choice, as a script for one model would ask for it.
    return {"temperature": params.temperature, "max_tokens": 1 if params.options else params.max_tokens}


def alone(asks: list[Ask], store: Store, rank: int, max_model_len: int | None, folder: Path) -> None:
    """One process with an engine for one student."""
    weights = asks[0].weights
    assert weights.adapter is not None, "a trained student has an adapter"
    job = {
        "checkpoint": checkpoint_of(store, weights.base, weights.path),
        "adapter": str(adapter_of(store, weights.adapter)),
        "rank": rank,
        "max_model_len": max_model_len,
        "benchmarks": [([one.prompt for one in ask.requests], params_of(ask)) for ask in asks],
    }
    file = folder / "job.json"
    file.write_text(json.dumps(job))
    # The memory and threads of the study's engine.
    settings = {"VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    settings |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_LOGGING_LEVEL": "ERROR"}
    command = [sys.executable, "-c", ALONE, str(file)]
    subprocess.run(command, env={**os.environ, **settings}, check=True, capture_output=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", help="of a finished demo")
    parser.add_argument("--small", action="store_true", help="one student on one benchmark")
    arguments = parser.parse_args()
    number, benchmarks = (1, 1) if arguments.small else (STUDENTS, BENCHMARKS)
    with tempfile.TemporaryDirectory() as scratch:
        plan = finished_demo(arguments.store, arguments.small, Path(scratch))
        store = Store(plan.study.store)
        by_student: dict[str, list[Ask]] = defaultdict(list)
        for stage, ask in asks_of(plan, store, Path(scratch)):
            if stage.kind == "sample" and stage.settings.prefill is None and ask.weights.adapter is not None:
                by_student[ask.weights.adapter].append(ask)
        students = [asks for asks in by_student.values() if len(asks) == benchmarks][:number]
        assert len(students) == number, "the demo has fewer students"
        start = time.perf_counter()
        for asks in students:
            alone(asks, store, plan.lora_rank, plan.study.max_model_len, Path(scratch))
        one_by_one = time.perf_counter() - start
        start = time.perf_counter()
        start_ray(None, plan.study)
        served = Served("starts", plan.study, plan.lora_rank)
        served.answers_to_all([ask for asks in students for ask in asks])
        together = time.perf_counter() - start
    print(f"one engine for each student {one_by_one:.1f} s, one for all {together:.1f} s", flush=True)
    print(f"one engine for all: {one_by_one / together:.2f} times as fast")


if __name__ == "__main__":
    main()
