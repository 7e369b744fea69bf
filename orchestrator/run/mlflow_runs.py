"""The runs of a study in MLflow: one parent run for a study in a store, and one child run for a trial.

Several drivers may write the same study. Whoever writes a run holds a lease in the store, `tracking/<id>-<n>`, and
looks first what is there: a finished run stays; any other is deleted, since a process that ended has left it, or its
trial was not finished then. So each write may be repeated at any time.
"""

import contextlib
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from evaluators.imports import IMPORTS
from orchestrator.plan.trial import EvaluationPoint, Plan, Trial
from orchestrator.run.mlflow_data import (
    LONGEST_NAME,
    LONGEST_VALUE,
    datasets,
    digest,
    study_params,
    trial_metrics,
    trial_params,
    valid_names,
)
from orchestrator.run.mlflow_database import connect, sqlite_path
from orchestrator.store.leases import LeaseId, LeaseRequest, check_held
from orchestrator.store.stage import Stage
from orchestrator.store.store import Store
from trainers.scratch import scratch_folder

if TYPE_CHECKING:
    from mlflow.entities import Run

ID_TAG, STUDY_TAG, TRIAL_TAG, MISSING_TAG = "offmodel.id", "offmodel.study", "offmodel.trial", "offmodel.missing"
LONGEST_TAG = 5000  # characters of a tag's value that every server takes
FOLDER = "tracking"  # of the store
PARAMS, METRICS = 100, 1000  # in one request, at most
FINISHED = "FINISHED"


class Busy(Exception):
    """Another run of the study is writing the same to MLflow."""


class StudyRuns:
    """Writes to MLflow. Every method may raise any error of MLflow's, and Busy; it may then be called again."""

    def __init__(self, plan: Plan, uri: str):
        self._plan, self._uri, self._store = plan, uri, Store(plan.study.store)
        self._requests: dict[str, LeaseRequest] = {}
        self._parent: str | None = None

    def open(self) -> str:
        """The id of the study's run, which is created if there is none."""
        if self._parent is not None:
            return self._parent
        study = digest(*sorted(stage.fingerprint for stage in self._plan.stages))
        with self._lease("open"):
            self._client = connect(self._uri)
            self._experiment = self._experiment_id(self._plan.study.tracking.experiment)
            # Leases exclude drivers with the same store only, so each store has a run of its own.
            parent = self._study_run(digest(study, _store_id(self._store)), study)
        children = self._search("mlflow.parentRunId", parent)
        self._logged = {run.data.tags.get(TRIAL_TAG) for run in children if run.info.status == FINISHED}
        self._parent = parent
        return parent

    def log_trial(
        self, trial: Trial, points: list[EvaluationPoint], records: dict[Stage, dict], missing: str = ""
    ) -> None:
        """Log a trial, unless it is there as finished.

        The run of an unfinished trial has its finished points, the status FAILED, and a tag with what is `missing`.
        """
        parent = self.open()
        if trial.key in self._logged:
            return
        identity = digest(parent, trial.key)
        with self._lease(identity) as lease:
            found = self._search(ID_TAG, identity)
            for run in found:
                if run.info.status != FINISHED:
                    self._client.delete_run(run.info.run_id)
            if all(run.info.status != FINISHED for run in found):
                tags = {"mlflow.parentRunId": parent, ID_TAG: identity, TRIAL_TAG: trial.key}
                if missing:
                    tags[MISSING_TAG] = missing[:LONGEST_TAG]
                self._write_trial(tags, trial, points, records, lease)
        if not missing:
            self._logged.add(trial.key)

    def log_report(self, files: Mapping[str, bytes], complete: bool) -> None:
        """Attach the report's files, by name, to the study's run, and end that run.

        A run that has ended as finished, since a driver has seen all trials, keeps its report.
        """
        parent = self.open()
        with self._lease(digest(parent)):
            if not complete and self._client.get_run(parent).info.status == FINISHED:
                return
            with scratch_folder() as folder:
                for name, content in files.items():
                    (folder / name).write_bytes(content)
                self._client.log_artifacts(parent, str(folder))
            self._client.set_terminated(parent, FINISHED if complete else "FAILED")

    @contextlib.contextmanager
    def _lease(self, name: str) -> Iterator[LeaseId]:
        """Hold a lease, and yield its id. Raises Busy."""
        # A request remembers since when another process's lease is unchanged.
        request = self._requests.setdefault(name, LeaseRequest(self._store, FOLDER, name=name))
        lease = request.attempt()
        if lease is None:
            raise Busy("another run of this study is writing to MLflow")
        try:
            yield lease.id
        finally:
            lease.release()

    def _experiment_id(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return found.experiment_id
        file = sqlite_path(self._uri)
        return self._client.create_experiment(name, file and (file.resolve().parent / "mlflow-artifacts").as_uri())

    def _study_run(self, identity: str, study: str) -> str:
        found = self._search(ID_TAG, identity)
        run = found[0] if found else self._create(self._plan.study.name, {ID_TAG: identity, STUDY_TAG: study})
        params = study_params(self._plan.study)
        if len(run.data.params) < len(params):  # Its driver may have ended half-way.
            known = run.data.params
            self._log_params(run, {name: value for name, value in params.items() if name not in known})
        if not run.inputs.dataset_inputs:
            self._client.log_inputs(run.info.run_id, datasets=datasets(self._plan))
        return run.info.run_id

    def _write_trial(
        self,
        tags: dict[str, str],
        trial: Trial,
        points: list[EvaluationPoint],
        records: dict[Stage, dict],
        lease: LeaseId,
    ) -> None:
        with IMPORTS:
            from mlflow.entities import Metric

        run = self._create(trial.key, tags)
        child, now = run.info.run_id, int(time.time() * 1000)
        found = list(trial_metrics(trial, points, records, self._store))
        names = valid_names(dict.fromkeys(name for name, _, _ in found))
        metrics = [Metric(names[name], value, now, step) for name, value, step in found]
        for start in range(0, len(metrics), METRICS):
            self._client.log_batch(child, metrics=metrics[start : start + METRICS])
        self._log_params(run, trial_params(trial, points, self._plan.study))
        # A driver that was stopped and woken leaves the run unfinished, for its next try to delete.
        check_held(self._store, FOLDER, lease, tags[ID_TAG])
        self._client.set_terminated(child, "FAILED" if MISSING_TAG in tags else FINISHED)

    def _create(self, name: str, tags: dict[str, str]) -> "Run":
        return self._client.create_run(self._experiment, run_name=name[:LONGEST_NAME], tags=tags)

    def _log_params(self, run: "Run", params: dict[str, Any]) -> None:
        with IMPORTS:
            from mlflow.entities import Param

        names = valid_names(params)
        found = [Param(names[key], str(value)[:LONGEST_VALUE]) for key, value in params.items()]
        for start in range(0, len(found), PARAMS):
            self._client.log_batch(run.info.run_id, params=found[start : start + PARAMS])

    def _search(self, tag: str, value: str) -> "list[Run]":
        runs, token = [], None
        while True:
            condition = f"tags.`{tag}` = '{value}'"
            page = self._client.search_runs([self._experiment], condition, max_results=1000, page_token=token)
            runs += page
            token = page.token
            if not token:
                return runs


def _store_id(store: Store) -> str:
    """The id of a store, however it is addressed. The first run that asks creates it."""
    path = f"{FOLDER}/store-id"
    while (found := store.read(path)) is None:
        with contextlib.suppress(FileExistsError):
            store.create(path, uuid.uuid4().hex.encode(), durable=True)
    return found.decode()
