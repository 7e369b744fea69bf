"""Finishes stages: uses a stage's record, waits for the process that runs it, or takes its lease and runs it."""

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
import ray.exceptions

from orchestrator.run import engines
from orchestrator.run.allocator import key_of, resources_of
from orchestrator.run.event_log import Advance
from orchestrator.stages import (
    dataset,
    evaluate,
    logprobs,
    model,
    overlap,
    ray_train,
    sample,
    style,
    train,
    transform,
    update,
    weights,
)
from orchestrator.stages.retries import Retries
from orchestrator.store.context import StageContext
from orchestrator.store.leases import Lease, LeaseId, LeaseLost, LeaseRequest
from orchestrator.store.stage import Stage
from orchestrator.store.store import Store
from trainers.disk import explain_disk_full

KINDS = {
    "model": model,
    "dataset": dataset,
    "sample": sample,
    "transform": transform,
    "train": ray_train,
    "weights": weights,
    "evaluate": evaluate,
    "logprobs": logprobs,
    "style": style,
    "overlap": overlap,
    "update": update,
}
# Losses of a task's process, for which the task is not to blame
LOST = (
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.LocalRayletDiedError,
    ray.exceptions.ObjectLostError,
    ray.exceptions.OutOfMemoryError,
)
TRAININGS = 4  # of a trial that run in the background while their checkpoints are evaluated
FIRST_WAIT, LONGEST_WAIT = 0.02, 1.0  # seconds between two looks at a stage that another process runs


class StageFailed(Exception):
    """A stage has failed in this run. `here`: this trial ran it, and no other one."""

    def __init__(self, stage: Stage, message: str, here: bool):
        super().__init__(message)
        self.stage, self.message, self.here = stage, message, here


@dataclass
class StageRunner:
    """Runs the stages that a trial needs. `event_log` and `allocator` are the handles of the run's actors."""

    run: str
    store: Store
    event_log: Any
    allocator: Any
    trial: str
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    sleep: Callable[[float], None] = time.sleep
    _trainings: dict[str, Future] = field(default_factory=dict)
    _starting: threading.Lock = field(default_factory=threading.Lock)
    _background: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(TRAININGS))

    def ensure(self, stages: Iterable[Stage]) -> list[dict[str, Any]]:
        """The records of these stages; unfinished ones are run, after their inputs. Raises StageFailed."""
        stages = list(stages)
        missing = [stage for stage in stages if self._known(stage) is None]
        needed = {n.fingerprint: n for stage in missing for n in stage.inputs.values()}
        if needed:
            self.ensure(needed.values())
        if len(missing) == 1:
            self._finish(missing[0])
        elif missing:
            with ThreadPoolExecutor(len(missing)) as pool:
                list(pool.map(self._finish, missing))
        return [self.records[stage.address] for stage in stages]

    def _known(self, stage: Stage) -> dict[str, Any] | None:
        if stage.address not in self.records:
            record = self.store.record(stage)
            if record is None:
                return None
            self.records[stage.address] = record
        return self.records[stage.address]

    def _finish(self, stage: Stage) -> None:
        if stage.runtime.published_by is not None:
            self._wait_for_checkpoint(stage, stage.runtime.published_by)
        queues, wait = stage.runtime.cpus is not None or stage.runtime.uses_engine, FIRST_WAIT
        running = LeaseRequest(self.store, stage.address)
        # A stage takes the lease once it has its resources. Until then its trial only has a place in its run's queue,
        # so that another run, whose resources are free, can run the stage.
        request = LeaseRequest(self.store, stage.address, name=f"queue-{self.run}") if queues else running
        while self._known(stage) is None:
            lease = request.attempt()
            try:
                if lease is not None and self._known(stage) is not None:
                    return  # Another process has finished it just before.
                failure = ray.get(self.event_log.failure.remote(stage.address))
                if failure is not None:
                    raise StageFailed(stage, failure, here=False)
                if lease is not None and self._run_stage(stage, running, lease):
                    return
            finally:
                if lease is not None:
                    lease.release()
            self.sleep(wait)
            wait = min(wait * 1.5, LONGEST_WAIT)

    def _wait_for_checkpoint(self, stage: Stage, training: Stage) -> None:
        """Run the training that publishes the checkpoint `stage`, and wait for the checkpoint.

        The training continues in the background. It ends without the checkpoint if it was finished before the study
        had that step.
        """
        with self._starting:
            if training.address not in self._trainings:
                self._trainings[training.address] = self._background.submit(self.ensure, [training])
        running, wait = self._trainings[training.address], FIRST_WAIT
        while self._known(stage) is None and not running.done():
            self.sleep(wait)
            wait = min(wait * 1.5, LONGEST_WAIT)
        if self._known(stage) is None:
            running.result()

    def _run_stage(self, stage: Stage, running: LeaseRequest, lease: Lease) -> bool:
        """Run a stage where it belongs; returns whether it is finished. Raises StageFailed."""
        if stage.runtime.cpus is not None:
            return self._run_as_task(stage, running)
        if stage.runtime.uses_engine:
            return self._run_with_engine(stage, running)
        return self._run_here(stage, lease)

    def _run_here(self, stage: Stage, lease: Lease) -> bool:
        """Run a stage in this process; returns whether it is finished. Raises StageFailed."""

        def run() -> bool:
            self.event_log.start.remote(stage, self.trial)
            perform(stage, self.store, self.run, lease.id, self.event_log, self.trial)
            return True

        return self._run(stage, run)

    def _run_with_engine(self, stage: Stage, running: LeaseRequest) -> bool:
        """Run a stage in this process once its engine has a replica, unless another run runs it."""
        if running.held():
            return False
        self.event_log.wait.remote(stage, self.trial)
        with resources_of(stage, self.trial, self.allocator):
            lease = running.attempt()
            if lease is None:
                return False
            try:
                return self._known(stage) is not None or self._run_here(stage, lease)
            finally:
                lease.release()

    def _run_as_task(self, stage: Stage, running: LeaseRequest) -> bool:
        """Run a stage as a Ray task, unless another run runs it; returns whether it is finished. Raises StageFailed."""
        if running.held():
            return False
        retries = Retries(self.store, stage)
        options = {
            "num_cpus": stage.runtime.cpus,
            "num_gpus": stage.runtime.gpus,
            "max_retries": 0,  # Ray would count losses with progress.
            "scheduling_strategy": "DEFAULT",  # on any node, not in the placement group of the trial
        }

        def run() -> bool:
            while True:
                ray.get(self.event_log.wait.remote(stage, self.trial))
                task = _perform_as_task.options(**options)
                try:
                    arguments = (stage, self.store.uri, self.run, running.ended, self.event_log, self.trial)
                    with resources_of(stage, self.trial, self.allocator):
                        return ray.get(task.remote(*arguments))
                except LOST:
                    if running.held():  # The task ended itself, as another process has taken over.
                        return False
                    if not retries.again():
                        raise

        return self._run(stage, run)

    def _run(self, stage: Stage, run: Callable[[], bool]) -> bool:
        steps = stage.runtime.checkpoints if stage.kind == "train" else ()
        checkpoints = [train.at_step(stage, step) for step in steps]
        checkpoints = [checkpoint for checkpoint in checkpoints if self._known(checkpoint) is None]
        try:
            if not run():
                return False
        except LeaseLost:
            return False
        except Exception as error:  # Any error of a stage becomes its failure.
            if self._known(stage) is not None:
                return True  # Another attempt was first, and has removed this one's folder.
            message = _cause(error)
            self.store.write_failure(stage, message)
            ray.get(self.event_log.fail.remote(stage, self.trial, message))
            raise StageFailed(stage, message, here=True) from error
        # A training that resumed from a state after a checkpoint has not published that checkpoint.
        published = [checkpoint for checkpoint in checkpoints if self._known(checkpoint) is not None]
        for done in (*published, stage):
            record = self._known(done)
            assert record is not None
            self.event_log.finish.remote(done, self.trial, record)
        return True


def perform(stage: Stage, store: Store, run: str, lease: LeaseId | None, event_log: Any, trial: str) -> None:
    """Run a stage in this process, under this lease, and publish its files and facts."""
    attempt = uuid.uuid4().hex[:8]
    out = store.new_folder(stage, attempt)
    started, published = time.time(), False
    try:
        settings: dict[str, Any] = {}
        caller = engines.Caller(run=run, key=key_of(stage, trial), retries=stage.runtime.retries, note=settings.update)
        advance = Advance(event_log, stage.address)
        context = StageContext(stage, store, out, partial(engines.call, caller), run, lease, advance, settings)
        with explain_disk_full(out):
            published = context.publish(stage, out, attempt, started, KINDS[stage.kind].run(context))
    finally:
        if not (published and store.is_local):  # The files are half a result, another attempt was first, or uploaded.
            shutil.rmtree(out, ignore_errors=True)


@ray.remote
def _perform_as_task(stage: Stage, store_uri: str, run: str, ended: bytes | None, event_log: Any, trial: str) -> bool:
    """Run a stage as its lease's owner. False if another process is it, or has finished the stage."""
    store = Store(store_uri)
    lease = LeaseRequest(store, stage.address, ended=ended).attempt()
    if lease is None:
        return False
    lease.on_loss = _end_process
    try:
        if store.record(stage) is not None:
            return False
        event_log.start.remote(stage, trial)
        perform(stage, store, run, lease.id, event_log, trial)
        return True
    finally:
        lease.release()


def _end_process() -> None:
    """End this process at once: whatever it is computing, another process computes as well."""
    os._exit(1)


def _cause(error: Exception) -> str:
    """The innermost error, in one line; the traceback goes to the log of the process."""
    traceback.print_exc(file=sys.stderr)
    inner: BaseException = error
    while (below := getattr(inner, "cause", None) or inner.__cause__) is not None and isinstance(below, BaseException):
        inner = below
    text = str(inner).strip().splitlines()
    return f"{type(inner).__name__}: {text[-1] if text else 'no message'} (process {os.getpid()})"
