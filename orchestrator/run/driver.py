"""Runs a study: Ray, the engines, Ray Tune over the trials, the report."""

import gc
import logging
import os
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from orchestrator.plan.points import progress_of
from orchestrator.plan.resources import on_this_machine
from orchestrator.plan.state import State, state_of
from orchestrator.plan.trial import Plan
from orchestrator.results.missing import missing_from
from orchestrator.results.report import Report, write_report
from orchestrator.run import engine_lifetime, engines, preflight
from orchestrator.run.allocator import start_allocator
from orchestrator.run.demand import withdraw
from orchestrator.run.engine_lifetime import ON_HEAD
from orchestrator.run.event_log import Event
from orchestrator.run.nodes import NodeUse
from orchestrator.run.progress import Progress
from orchestrator.run.tracking import Tracker
from orchestrator.run.trial import run_trial
from orchestrator.run.watchdog import start_watchdog
from orchestrator.store.stage import closure
from orchestrator.store.store import Store
from orchestrator.study.schema import Study
from trainers.scratch import scratch_folder

POLL_SECONDS = 0.5  # between two reads of the event log
STARTS_OF_RAY = 3  # of a local Ray, at most
OBJECT_STORE_BYTES = 256 << 20  # of a local Ray; the plan, prompts and completions pass through it
log = logging.getLogger(__name__)

# Read by Ray when it is imported, and by every process that it starts.
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_SYNCER": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # It would end the trials and report the study as run.
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "0",
    # Seconds between two looks of Serve's controller. Ten a second, Ray's default, take 6 % of a core.
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
}


@dataclass(frozen=True)
class Outcome:
    """How a run ended. `nodes`: how it used those of a cluster, by their type. `reporting` has the Unix times at which
    the report was begun and finished."""

    events: list[Event]
    nodes: Mapping[str, NodeUse]
    report: Report
    reporting: tuple[float, float]

    @property
    def failed(self) -> list[Event]:
        return [event for event in self.events if event.what in ("failed", "not run")]


def run_study(plan: Plan, address: str | None, tracker: Tracker, progress: Progress | None) -> Outcome:
    """Run all trials of a plan, log each to MLflow when it finishes, and write the report."""
    store = Store(plan.study.store)
    state = state_of(plan, store)
    records, tracked = dict(state.records), set[int]()

    def track(number: int, missing: str = "") -> None:
        """Log a trial that has ended to MLflow once. One that is not finished is only logged with what it misses."""
        trial = plan.trials[number]
        # With the inputs: the samples of a recovery decide which budgets it has.
        records.update(store.records(stage for stage in closure(trial.stages()) if stage not in records))
        progress = progress_of(trial, plan.study, records)
        if number not in tracked and (progress.complete or (missing and progress.finished)):
            tracked.add(number)
            tracker.trial(trial, progress.finished, records, "" if progress.complete else missing)

    for number in sorted(set(range(len(plan.trials))) - set(state.pending)):
        track(number)
    events, nodes = list[Event](), dict[str, NodeUse]()
    if state.pending:
        events, nodes = _run_trials(plan, state, address, track, progress)
    started = time.time()
    report = write_report(plan, store)
    reporting = (started, time.time())
    for number in state.pending:  # Another run may have finished what failed here.
        track(number, missing_from(report.results, plan.trials[number].key))
    tracker.report(report.files, complete=not report.results.unfinished)
    return Outcome(events, nodes, report, reporting)


def start_ray(address: str | None, study: Study, **runtime_env: Any) -> None:
    """Connect to the Ray cluster at an address, or start a local Ray."""
    os.environ.update({key: value for key, value in QUIET.items() if key not in os.environ})
    import ray

    on_sigterm = signal.getsignal(signal.SIGTERM)
    gpus = None if study.resources.gpus is None else on_this_machine(study)["GPU"]
    local = {"num_cpus": study.resources.cpus, "num_gpus": gpus, "object_store_memory": OBJECT_STORE_BYTES}
    for left in reversed(range(STARTS_OF_RAY)):
        try:
            ray.init(
                address or "local",
                log_to_driver=False,
                logging_level="ERROR",
                runtime_env={"env_vars": QUIET, **runtime_env},
                **({} if address else {"include_dashboard": False, **local}),
            )
            break
        except Exception as error:  # Ray raises it without a class of its own.
            if address or not left or "timed out during startup" not in str(error):
                raise
            log.warning("Ray has not started within its 30 s, as on a busy machine; it is started again")
            ray.shutdown()
    signal.signal(signal.SIGTERM, on_sigterm)  # Ray sets its own.


def _run_trials(
    plan: Plan, state: State, address: str | None, on_trial: Callable[[int], None], progress: Progress | None
) -> tuple[list[Event], dict[str, NodeUse]]:
    import ray

    study, run = plan.study, uuid.uuid4().hex[:8]
    pending = [stage for stage in plan.stages if stage not in state.records]
    if not ray.is_initialized():
        start_ray(address, study)
    if not address:  # In a container Ray may have less than the machine.
        preflight.check_resources(pending, study, ray.cluster_resources())
    names = {stage.runtime.engine for stage in pending if stage.runtime.uses_engine}
    event_log = engine_lifetime.start_event_log(run)
    waiting = trials_by_task(plan, state)
    shares, most = engines.shares(study, names), engines.most(study)
    allocator = start_allocator(run, shares, most, waiting, may_grow=address is not None)
    watcher = Watcher(event_log, progress)
    with ExitStack() as ends:
        ends.callback(_shut_down_ray)
        if address:  # A local Ray ends its engines itself.
            start_watchdog(run)
            ends.callback(withdraw, run)
            engine_lifetime.delete_applications_of_ended_runs()
            ends.callback(engine_lifetime.delete_applications, run)
        watcher.start()
        ends.callback(watcher.finish)
        engines.deploy(run, study, sorted(names), plan.lora_rank)
        lost = _tune(plan, state, run, event_log, allocator, on_trial)
        nodes = ray.get(allocator.node_uses.remote())
    return watcher.events + lost, nodes


def trials_by_task(plan: Plan, state: State) -> Counter[str]:
    """How many unfinished trials need each stage that runs as a task, by address."""
    found: Counter[str] = Counter()
    for number in state.pending:
        needed = closure(plan.trials[number].stages())
        tasks = {stage.runtime.published_by or stage for stage in needed}
        found.update(stage.address for stage in tasks if stage.runtime.cpus is not None)
    return found


def _shut_down_ray() -> None:
    """Shut Ray down without garbage collection: Ray ends the whole process if another thread frees one of Ray's objects
    during the shutdown."""
    import ray

    gc.collect()
    gc.disable()
    try:
        ray.shutdown()
    finally:
        gc.enable()


def _tune(
    plan: Plan, state: State, run: str, event_log: Any, allocator: Any, on_trial: Callable[[int], None]
) -> list[Event]:
    """Run the pending trials with Ray Tune; returns events for trials whose process was lost in each try."""
    import ray
    from ray import tune

    class OnComplete(tune.Callback):
        def __init__(self, act: Callable[[int], None]):
            self._act, self.ended = act, set[int]()

        def __getstate__(self) -> dict:
            return {}  # Tune pickles its callbacks for a restore, which the store of results replaces.

        def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
            self.ended.add(trial.config["trial"])
            self._act(trial.config["trial"])

        def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
            allocator.forget.remote(plan.trials[trial.config["trial"]].key)

    plan_ref, on_complete = ray.put(plan), OnComplete(on_trial)

    def trial(config: dict[str, Any]) -> None:
        run_trial(config, plan_ref, run, event_log, allocator)

    with scratch_folder() as scratch:
        tuner = tune.Tuner(
            # A trial only waits for stages, so it takes no CPU from them.
            tune.with_resources(trial, ON_HEAD),
            param_space={"trial": tune.grid_search(state.pending)},
            tune_config=tune.TuneConfig(
                max_concurrent_trials=plan.study.resources.max_concurrent_trials, reuse_actors=True
            ),
            run_config=tune.RunConfig(
                name="trials",
                storage_path=str(scratch),
                verbose=0,
                callbacks=[on_complete],
                # A trial that is tried again finds what is finished in the store.
                failure_config=tune.FailureConfig(max_failures=plan.study.resources.retries),
            ),
        )
        results = tuner.fit()
    # A failed stage has its event, and its trial ends without an error: an error means that the process was lost. Tune
    # also keeps the errors of trials that ended in a later try.
    return [
        Event("failed", time.time(), "", "trial", plan.trials[number].key, str(result.error))
        for number, result in zip(state.pending, results, strict=False)
        if number not in on_complete.ended
    ]


class Watcher(threading.Thread):
    """Reads the event log, shows new events, and keeps all of them."""

    def __init__(self, event_log: Any, progress: Progress | None):
        super().__init__(daemon=True)
        self.events: list[Event] = []
        self._event_log, self._progress, self._end = event_log, progress, threading.Event()

    def run(self) -> None:
        while not self._end.wait(POLL_SECONDS):
            self._read()

    def _read(self) -> None:
        import ray

        news = ray.get(self._event_log.news.remote(len(self.events)))
        self.events += news.events
        if self._progress is not None:
            try:
                self._progress.update(news)
            except Exception as error:  # noqa: BLE001  # such as a terminal that was closed
                log.warning("the progress is not shown any more: %s: %s", type(error).__name__, error)
                self._progress = None

    def finish(self) -> None:
        """Stop, after a read of the last events."""
        self._end.set()
        self.join()
        self._read()
