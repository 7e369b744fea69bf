"""Getting a stage done: by finding its record, by waiting for whoever is at it, or by running it."""

import os
import shutil
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import ray

from orchestrator.run import engines
from orchestrator.stages import evaluate, logprobs, model, ray_train, sample, style, train, transform, weights
from orchestrator.store.context import StageContext
from orchestrator.store.leases import LeaseRequest
from orchestrator.store.stage import Stage
from orchestrator.store.store import Store
from trainers.disk import explain_disk_full

KINDS = {
    "model": model,
    "sample": sample,
    "transform": transform,
    "train": ray_train,
    "weights": weights,
    "evaluate": evaluate,
    "logprobs": logprobs,
    "style": style,
}
TRAININGS = 4  # that go on in the background of a trial while their checkpoints are measured
FIRST_WAIT, LONGEST_WAIT = 0.02, 1.0  # seconds between two looks at a stage that somebody else is running


class StageFailed(Exception):
    """A stage has failed in this run. `here` tells whether it was run here, or by another trial."""

    def __init__(self, stage: Stage, message: str, here: bool):
        super().__init__(message)
        self.stage, self.message, self.here = stage, message, here


@dataclass
class StageRunner:
    """Where stages are run from: the store, the run's board, and the trial that needs them."""

    run: str
    store: Store
    board: Any
    trial: str
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    sleep: Callable[[float], None] = time.sleep
    _trainings: dict[str, Future] = field(default_factory=dict)
    _starting: threading.Lock = field(default_factory=threading.Lock)
    _background: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(TRAININGS))

    def ensure(self, stages: Iterable[Stage]) -> list[dict[str, Any]]:
        """The records of these stages, all that they need included. Raises StageFailed."""
        stages = list(stages)
        missing = [stage for stage in stages if self._known(stage) is None]
        needed = {n.fingerprint: n for stage in missing for n in stage.inputs.values()}
        if needed:
            self.ensure(needed.values())
        if len(missing) == 1:
            self._get_done(missing[0])
        elif missing:
            with ThreadPoolExecutor(len(missing)) as pool:
                list(pool.map(self._get_done, missing))
        return [self.records[stage.address] for stage in stages]

    def _known(self, stage: Stage) -> dict[str, Any] | None:
        if stage.address not in self.records:
            record = self.store.record(stage)
            if record is None:
                return None
            self.records[stage.address] = record
        return self.records[stage.address]

    def _get_done(self, stage: Stage) -> None:
        if stage.runtime.published_by is not None:
            self._wait_for_part(stage, stage.runtime.published_by)
        contender, wait = LeaseRequest(self.store, stage.address), FIRST_WAIT
        while self._known(stage) is None:
            claim = contender.attempt()
            if claim is None:
                failure = ray.get(self.board.failure.remote(stage.address))
                if failure is not None:
                    raise StageFailed(stage, failure, here=False)
                self.sleep(wait)
                wait = min(wait * 1.5, LONGEST_WAIT)
                continue
            try:
                if self._known(stage) is None:  # Done by another between the look and the claim.
                    self._run(stage)
            finally:
                claim.release()

    def _wait_for_part(self, stage: Stage, whole: Stage) -> None:
        """Have the training run of which a checkpoint is left, for as long as the checkpoint takes.

        It goes on after that, while the checkpoint is measured. One that ends without leaving it has left it out: it
        was done before the study asked for that step.
        """
        with self._starting:
            if whole.address not in self._trainings:
                self._trainings[whole.address] = self._background.submit(self.ensure, [whole])
        training, wait = self._trainings[whole.address], FIRST_WAIT
        while self._known(stage) is None and not training.done():
            self.sleep(wait)
            wait = min(wait * 1.5, LONGEST_WAIT)
        if self._known(stage) is None:
            training.result()

    def _run(self, stage: Stage) -> None:
        failure = ray.get(self.board.start.remote(stage, self.trial))
        if failure is not None:
            raise StageFailed(stage, failure, here=False)
        parts = [train.at_step(stage, step) for step in (stage.runtime.checkpoints if stage.kind == "train" else ())]
        parts = [part for part in parts if self._known(part) is None]
        try:
            if stage.runtime.cpus is not None:
                options = {
                    "num_cpus": stage.runtime.cpus,
                    "num_gpus": stage.runtime.gpus,
                    "max_retries": stage.runtime.retries,  # of a lost worker; an exception is not retried
                    "scheduling_strategy": "DEFAULT",  # anywhere, not in the placement group of the trial
                }
                ray.get(_perform_elsewhere.options(**options).remote(stage, self.store.uri, self.run))
            else:
                perform(stage, self.store, self.run)
        except Exception as error:  # Whatever went wrong belongs to this stage, and is told as its cause.
            if self._known(stage) is not None:
                return  # Another attempt was first, and took this one's folder away.
            message = _cause(error)
            ray.get(self.board.fail.remote(stage, self.trial, message))
            raise StageFailed(stage, message, here=True) from error
        # A training that went on from a state beyond a checkpoint has left that one out.
        left = [part for part in parts if self._known(part) is not None]
        for done in (*left, stage):
            record = self._known(done)
            assert record is not None
            self.board.finish.remote(done, self.trial, record)


def perform(stage: Stage, store: Store, run: str) -> None:
    """Run a stage in this process and publish what it left."""
    attempt = uuid.uuid4().hex[:8]
    out = store.new_folder(stage, attempt)
    started = time.time()
    try:
        work = StageContext(stage, store, out, partial(engines.ask, run, stage.runtime.retries), run)
        with explain_disk_full(out):
            work.publish(stage, out, attempt, started, KINDS[stage.kind].run(work))
    except Exception:
        shutil.rmtree(out, ignore_errors=True)  # Half of a result is none.
        raise
    finally:
        if not store.is_local:  # Uploaded, or of no use.
            shutil.rmtree(out, ignore_errors=True)


@ray.remote
def _perform_elsewhere(stage: Stage, store: str, run: str) -> None:
    perform(stage, Store(store), run)


def _cause(error: Exception) -> str:
    """The innermost reason, in a line; the traceback goes to the log of the process."""
    traceback.print_exc(file=sys.stderr)
    inner: BaseException = error
    while (below := getattr(inner, "cause", None) or inner.__cause__) is not None and isinstance(below, BaseException):
        inner = below
    text = str(inner).strip().splitlines()
    return f"{type(inner).__name__}: {text[-1] if text else 'no message'} (process {os.getpid()})"
