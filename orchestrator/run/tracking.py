"""Tracking with MLflow while a study runs.

Everything that is logged can be read from the store again. So an error of MLflow's costs no results: the tracker tries
again as long as the run goes on, and the next run of the study logs what is still missing.

One thread of the driver writes everything, since MLflow's clients keep their state by process.
"""

import logging
import queue
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

from orchestrator.plan.trial import EvaluationPoint, Plan, Trial
from orchestrator.run.mlflow_runs import Busy, StudyRuns
from orchestrator.store.stage import Stage
from orchestrator.store.store import Store
from orchestrator.study.load import without_secrets
from orchestrator.study.schema import Study
from orchestrator.study.settings import StudyError

ANSWER_WITHIN = 5.0  # seconds
FIRST_WAIT, LONGEST_WAIT = 0.5, 10.0  # seconds between two tries
PATIENCE = 120.0  # seconds without success, at the end of a run; the lease of a driver that was lost ends in 60
POLL = 0.1  # seconds between two looks at what is left
STUDY, REPORT, UNTRIED = "the study", "the report", "MLflow has not answered"
Write = Callable[[StudyRuns], object]
log = logging.getLogger(__name__)


def tracking_uri(study: Study) -> str:
    """The tracking URI of a study: its own, or an SQLite file beside a local store."""
    if study.tracking.uri:
        return study.tracking.uri
    store = Store(study.store)
    return f"sqlite:///{Path(store.root if store.is_local else '.').resolve() / 'mlflow.db'}"


def check_answers(uri: str) -> None:
    """Raise StudyError where a tracking server does not answer."""
    if not uri.startswith(("http://", "https://")):
        return
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=ANSWER_WITHIN) as answer:
            answer.read()
    except (urllib.error.URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise StudyError(
            f"tracking.uri: the MLflow server at {uri} does not answer ({reason}); start it, correct "
            f"the address, or leave tracking.uri out to track into a local SQLite file"
        ) from error


class Tracker(threading.Thread):
    """Writes trials to MLflow as they finish, once it is started. `finish` waits for all writes."""

    def __init__(
        self,
        plan: Plan,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ):
        super().__init__(daemon=True)
        self._plan, self._uri = plan, tracking_uri(plan.study)
        self._clock, self._sleep = clock, sleep
        self._jobs: queue.SimpleQueue[tuple[str, Write] | None] = queue.SimpleQueue()
        self._left: dict[str, str] = {}  # what is not in MLflow yet, and why
        self._succeeded = clock()
        self._closed = self._given_up = False
        self._add(STUDY, StudyRuns.open)

    def trial(self, trial: Trial, points: list[EvaluationPoint], records: dict[Stage, dict], missing: str = "") -> None:
        """Log the finished points of a trial; `missing` says what an unfinished one lacks, and why."""
        self._add(trial.key, lambda runs: runs.log_trial(trial, points, records, missing))

    def report(self, files: Mapping[str, bytes], complete: bool) -> None:
        """Attach the report's files, by name, to the study's run once all trials are there, and end that run."""

        def write(runs: StudyRuns) -> None:
            if len(self._left) > 1:
                raise Busy("not all trials are in MLflow yet")
            runs.log_report(files, complete)

        self._add(REPORT, write)

    def _add(self, name: str, write: Write) -> None:
        self._left[name] = UNTRIED
        self._jobs.put((name, write))

    def run(self) -> None:
        runs, wait = StudyRuns(self._plan, self._uri), FIRST_WAIT
        while (self._left or not self._closed) and not self._given_up:
            job = self._jobs.get()
            if job is None:  # `finish` wakes a thread that has nothing to do.
                continue
            name, write = job
            try:
                write(runs)
            except Busy as busy:
                self._again(job, busy, FIRST_WAIT)
            except Exception as error:  # noqa: BLE001  # MLflow's are of many kinds, and most pass.
                if wait == FIRST_WAIT and self._left[name] == UNTRIED:
                    log.warning("MLflow: %s; it is tried again until the run ends", self._reason(error))
                self._again(job, error, wait)
                wait = min(2 * wait, LONGEST_WAIT)
            else:
                del self._left[name]
                self._succeeded, wait = self._clock(), FIRST_WAIT

    def _again(self, job: tuple[str, Write], error: Exception, wait: float) -> None:
        self._left[job[0]] = self._reason(error)
        self._jobs.put(job)  # behind the others, which may do better
        self._sleep(wait)

    def _reason(self, error: Exception) -> str:
        """An error in one line, without the password that the URI of a database may hold."""
        lines = str(error).replace(self._uri, without_secrets(self._uri)).splitlines()
        return lines[0] if lines else type(error).__name__

    def finish(self) -> str | None:
        """Wait until all is in MLflow, or until nothing has worked for PATIENCE seconds.

        Returns what is missing then, why, and what to do, as a sentence; None if nothing is.
        """
        self._closed, closed = True, self._clock()
        self._jobs.put(None)
        while self.is_alive() and self._clock() - max(closed, self._succeeded) < PATIENCE:
            self.join(POLL)
        self._given_up = True
        left = dict(self._left)
        if not left:
            return None
        trials = len(left.keys() - {STUDY, REPORT})
        what = f"{trials} trials are" if trials > 1 else "1 trial is" if trials else "the report is"
        reason = next(iter(left.values()))
        return f"{what} not in MLflow yet ({reason}); run the same command again to log what is missing"
