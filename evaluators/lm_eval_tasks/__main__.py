"""The child process that `run_task` starts."""

import logging
import random
import sys
import traceback
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import evaluate as hf_evaluate
import numpy

from evaluators.lm_eval_tasks import check

parent = Connection(int(sys.argv[1]))


def call(*message: Any) -> Any:
    """Call `generate` or `score` in the parent process."""
    parent.send(message)
    return parent.recv()


def refuse_remote_code(name: str, *_: Any, **__: Any) -> None:
    raise ValueError(f"the metric {name} would download and run code, which is not supported: choose another task")


logging.basicConfig(level=logging.WARNING)
logging.getLogger("lm_eval").setLevel(logging.ERROR)  # Its warnings are for authors of tasks.
hf_evaluate.load = refuse_remote_code
random.seed(0)  # lm-eval's default seeds
numpy.random.seed(1234)
try:
    from evaluators.lm_eval_tasks.evaluate import evaluate

    task = parent.recv()
    check(task.name, task.sampling)
    parent.send(("result", evaluate(task, partial(call, "generate"), partial(call, "score"))))
except ValueError as error:
    parent.send(("error", ValueError(str(error))))
except Exception:  # noqa: BLE001  # Raised again in the parent process.
    parent.send(("error", RuntimeError(traceback.format_exc())))
