"""lm-eval in a process of its own.

It seeds and logs as it likes, and the time limits in which its tasks grade are signals, which fail, some of them in
silence and with wrong scores, anywhere but in a process's main thread.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import Pipe
from pathlib import Path

from evaluators.lm_eval_tasks.task import Answering, LmEvalResult, LmEvalTask, Weighing

SETTINGS = {
    "TQDM_DISABLE": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
    "CUDA_VISIBLE_DEVICES": "",  # The GPUs are the engines'.
    "PYTHONHASHSEED": "0",  # The order of sympy's sets follows hashes, and a grade shall not.
}


def run_task(task: LmEvalTask, answer: Answering, likelihood: Weighing) -> LmEvalResult:
    """Run a task of lm-eval in a process (`__main__.py`) that asks the callables here. Any thread may call it.

    Raises ValueError for what the task or its settings do not allow.
    """
    here, there = Pipe()
    path = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])
    child = subprocess.Popen(
        [sys.executable, "-m", "evaluators.lm_eval_tasks", str(there.fileno())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # Some tasks print.
        pass_fds=[there.fileno()],
        env={**os.environ, **SETTINGS, "PYTHONPATH": path},
    )
    there.close()
    asked: dict[str, Callable] = {"generate": answer, "score": likelihood}
    with child, here:
        try:
            here.send(task)
            while (message := here.recv())[0] in asked:
                here.send(list(asked[message[0]](*message[1:])))
        except (EOFError, ConnectionError) as error:
            raise RuntimeError(f"lm-eval ended with exit status {child.wait()}; its last words are above") from error
        finally:
            child.kill()
    kind, content = message
    if kind == "result":
        return content
    raise content
