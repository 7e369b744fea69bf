"""Runs lm-eval in a child process.

lm-eval changes global seeds and logging. Its time limits for grading are signals, which fail outside a process's main
thread, some of them silently and with wrong scores.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from evaluators.lm_eval_tasks.task import Generate, LmEvalResult, LmEvalTask, Score

LIMIT = 3600.0  # seconds of lm-eval's own work, such as grading, between two batches for an engine
SETTINGS = {
    "TQDM_DISABLE": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
    "CUDA_VISIBLE_DEVICES": "",  # GPUs are for the engines.
    "PYTHONHASHSEED": "0",  # The order of sympy's sets depends on hashes, and grades must not.
}


def run_task(task: LmEvalTask, generate: Generate, score: Score, limit: float = LIMIT) -> LmEvalResult:
    """Run a task in a child process (`__main__.py`), which calls `generate` and `score` in this one. Thread-safe.

    Raises ValueError for a task or settings that cannot be run, and RuntimeError for a failure of lm-eval, also where
    it works for more than `limit` seconds without a call.
    """
    child, parent = Pipe()
    path = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(
        [sys.executable, "-m", "evaluators.lm_eval_tasks", str(parent.fileno())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # Some tasks print.
        pass_fds=[parent.fileno()],
        env={**os.environ, **SETTINGS, "PYTHONPATH": path},
    )
    parent.close()
    functions: dict[str, Callable] = {"generate": generate, "score": score}
    with process, child:
        try:
            child.send(task)
            while (message := _receive(child, task.name, limit))[0] in functions:
                child.send(list(functions[message[0]](*message[1:])))
        except (EOFError, ConnectionError) as error:
            raise RuntimeError(f"lm-eval ended with exit status {process.wait()}; see its error above") from error
        finally:
            process.kill()
    kind, content = message
    if kind == "result":
        return content
    raise content


def _receive(child: Connection, name: str, limit: float) -> Any:
    if not child.poll(limit):
        raise RuntimeError(f"lm_eval:{name} worked for {limit:g} s without a call to the engine, so it was ended")
    return child.recv()
