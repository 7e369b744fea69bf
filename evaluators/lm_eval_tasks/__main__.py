"""The process that `run_task` starts."""

import logging
import random
import sys
import traceback
from multiprocessing.connection import Connection
from typing import Any

import evaluate as hf_evaluate
import numpy

from evaluators.lm_eval_tasks import check

there = Connection(int(sys.argv[1]))


def ask(*question: Any) -> Any:
    there.send(question)
    return there.recv()


def no_remote_code(name: str, *_: Any, **__: Any) -> None:
    raise ValueError(f"the metric {name} is code that would be downloaded: not run here")


logging.basicConfig(level=logging.WARNING)
logging.getLogger("lm_eval").setLevel(logging.ERROR)  # Its warnings are about how tasks are written.
hf_evaluate.load = no_remote_code
random.seed(0)  # lm-eval's own seeds
numpy.random.seed(1234)
try:
    from evaluators.lm_eval_tasks.evaluate import evaluate

    task = there.recv()
    check(task.name)
    result = evaluate(task, lambda *asked: ask("generate", *asked), lambda *asked: ask("score", *asked))
    there.send(("result", result))
except ValueError as error:
    there.send(("error", ValueError(str(error))))
except Exception:  # noqa: BLE001  # Raised again in whoever asked for the task.
    there.send(("error", RuntimeError(traceback.format_exc())))
