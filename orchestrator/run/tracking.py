"""MLflow: one parent run for a study, one child run for a trial, measures against the recovery budget, and the metrics
of trainings against their steps.

One thread of the driver writes everything: MLflow's fluent API keeps its state by process, and processes that open a
new SQLite store at the same time corrupt it. What a run has already is not written again, so that a study that is
started twice appears once.
"""

import hashlib
import json
import os
import queue
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.measures import MEASURES
from orchestrator.plan.trial import EvaluationPoint, Plan, Trial
from orchestrator.stages.data import PromptData
from orchestrator.stages.sample import BenchmarkPrompts, TaskPrompts
from orchestrator.stages.train import STEPS, TrainingPrompts
from orchestrator.store.stage import Stage
from orchestrator.store.store import Store
from orchestrator.study.hypotheses import UNTRAINED
from orchestrator.study.load import without_secrets
from orchestrator.study.schema import Study
from orchestrator.study.settings import StudyError
from trainers.scratch import scratch_folder

STUDY_TAG, TRIAL_TAG = "offmodel.study", "offmodel.trial"
ANSWER_WITHIN = 5.0  # seconds


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
    """Writes trials to MLflow as they finish. Use it as a context manager: its exit waits for all writes."""

    def __init__(self, plan: Plan):
        super().__init__(daemon=True)
        self._plan = plan
        self._jobs: queue.Queue[tuple | None] = queue.Queue()
        self._failure: Exception | None = None

    def __enter__(self) -> "Tracker":
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._jobs.put(None)
        self.join()
        if self._failure is not None and error[0] is None:
            raise self._failure

    def trial(self, trial: Trial, points: list[EvaluationPoint], records: dict[Stage, dict]) -> None:
        """Log a finished trial."""
        self._jobs.put((_Log.trial, trial, points, records))

    def report(self, files: Mapping[str, bytes], complete: bool) -> None:
        """Attach the report's files, by name, to the study's run, and end that run."""
        self._jobs.put((_Log.report, files, complete))

    def run(self) -> None:
        try:
            log = _Log(self._plan)
            while (job := self._jobs.get()) is not None:
                write, *arguments = job
                write(log, *arguments)
        except Exception as error:  # noqa: BLE001  # Raised again in the driver's thread.
            self._failure = error


class _Log:
    def __init__(self, plan: Plan):
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
        from mlflow import MlflowClient

        self._plan, study, self._store = plan, plan.study, Store(plan.study.store)
        uri = tracking_uri(study)
        self._client = MlflowClient(uri)
        self._experiment = self._experiment_id(study.tracking.experiment, uri)
        identity = hashlib.sha256(" ".join(sorted(s.fingerprint for s in plan.stages)).encode()).hexdigest()[:16]
        found = self._search(f"tags.`{STUDY_TAG}` = '{identity}'")
        if found:
            self._parent = found[0].info.run_id
        else:
            self._parent = self._client.create_run(
                self._experiment, run_name=study.name, tags={STUDY_TAG: identity}
            ).info.run_id
            self._params(self._parent, {"name": study.name, "store": without_secrets(study.store), **_flat(study)})
            self._inputs(self._parent, study)
        children = self._search(f"tags.`mlflow.parentRunId` = '{self._parent}'")
        self._logged = {r.data.tags[TRIAL_TAG] for r in children if r.info.status == "FINISHED"}
        for child in children:
            if child.info.status != "FINISHED":  # Its driver ended meanwhile: written again.
                self._client.delete_run(child.info.run_id)

    def _experiment_id(self, name: str, uri: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return found.experiment_id
        beside = Path(uri.removeprefix("sqlite:///")).parent / "mlflow-artifacts"
        return self._client.create_experiment(name, beside.as_uri() if uri.startswith("sqlite:///") else None)

    def _search(self, condition: str) -> list:
        runs, token = [], None
        while True:
            page = self._client.search_runs([self._experiment], condition, max_results=1000, page_token=token)
            runs += page
            token = page.token
            if not token:
                return runs

    def _params(self, run: str, params: dict[str, Any]) -> None:
        from mlflow.entities import Param

        self._client.log_batch(run, params=[Param(key, str(value)[:500]) for key, value in params.items()])

    def _inputs(self, run: str, study: Study) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        sources = {"training prompts": study.prompts.source} | {
            name: benchmark.source or benchmark.kind for name, benchmark in study.benchmarks.items()
        }
        identities: dict[str, Any] = {}
        for stage in self._plan.stages:
            prompts = stage.settings.prompts if stage.kind == "sample" else None
            if stage.kind == "train" and isinstance(stage.settings.examples, TrainingPrompts):
                prompts = stage.settings.examples.prompts
            if isinstance(prompts, PromptData):
                identities["training prompts"] = prompts
            elif isinstance(prompts, BenchmarkPrompts):
                identities[stage.runtime.benchmark] = prompts.examples
            elif isinstance(prompts, TaskPrompts):
                identities[stage.runtime.benchmark] = prompts
        inputs = []
        for name, identity in identities.items():
            digest = hashlib.sha256(repr(identity).encode()).hexdigest()[:8]
            context = InputTag("mlflow.data.context", "training" if name == "training prompts" else "evaluation")
            inputs.append(DatasetInput(Dataset(name, digest, "offmodel", sources[name]), [context]))
        self._client.log_inputs(run, datasets=inputs)

    def trial(self, trial: Trial, points: list[EvaluationPoint], records: dict[Stage, dict]) -> None:
        from mlflow.entities import Metric, Param

        if trial.key in self._logged:
            return
        child = self._client.create_run(
            self._experiment,
            run_name=trial.key,
            tags={"mlflow.parentRunId": self._parent, TRIAL_TAG: trial.key},
        ).info.run_id
        now = int(time.time() * 1000)
        metrics = [
            Metric(re.sub(r"[^\w\-. :/]", "_", name), value, now, step)  # what MLflow takes in a name
            for point in points
            for name, value, step in [*_metrics(trial, point, records), *self._curve(point)]
        ]
        params = {
            **trial.params,
            "budget": max(point.budget for point in points),
            "budgets": " ".join(str(point.budget) for point in points if point.step is None),
            "tuning": self._plan.study.train.tuning,
        }
        for start in range(0, len(metrics), 1000):
            self._client.log_batch(child, metrics=metrics[start : start + 1000])
        self._client.log_batch(child, params=[Param(key, str(value)) for key, value in params.items()])
        self._client.set_terminated(child)
        self._logged.add(trial.key)

    def _curve(self, point: EvaluationPoint) -> Iterator[tuple[str, float, int]]:
        """The metrics of a student's training, by training step."""
        student = point.student
        if student is None or student.kind != "train" or student.runtime.published_by is not None:
            return  # The curve of a checkpoint is the beginning of its training's.
        record = self._store.record(student)
        assert record is not None, f"{student.address} is not done"
        lines = self._store.read(f"{student.address}/{record['attempt']}/{STEPS}")
        assert lines is not None, f"{student.address} has left no {STEPS}"
        prefix = f"recovery {point.budget}" if point.budget else "training"
        for line in lines.decode().splitlines():
            metrics = json.loads(line)
            step = metrics.pop("step")
            yield from ((f"{prefix}/{name}", float(value), step) for name, value in metrics.items())

    def report(self, files: Mapping[str, bytes], complete: bool) -> None:
        with scratch_folder() as folder:
            for name, content in files.items():
                (folder / name).write_bytes(content)
            self._client.log_artifacts(self._parent, str(folder))
        self._client.set_terminated(self._parent, "FINISHED" if complete else "FAILED")


def _metrics(trial: Trial, point: EvaluationPoint, records: dict[Stage, dict]) -> Iterator[tuple[str, float, int]]:
    """All measures of a point against the recovery budget, or, of a checkpoint, against the training step."""
    found: dict[str, float] = {}
    for name, stages in trial.training_data.items():
        found |= MEASURES.module(name).metrics(_facts(stages, records), ())
    for name, by_benchmark in point.measured.items():
        for benchmark, stages in by_benchmark.items():
            untrained = _facts(trial.untrained_stages(UNTRAINED, name, benchmark), records)
            metrics = MEASURES.module(name).metrics(_facts(stages, records), untrained)
            found |= {f"{benchmark} {what}".rstrip(): value for what, value in metrics.items()}
    if point.step is None:
        yield from ((name, value, point.budget) for name, value in found.items())
    else:
        yield from ((f"training/{name}", value, point.step) for name, value in found.items())


def _facts(stages: Sequence[Stage], records: dict[Stage, dict]) -> list[dict[str, Any]]:
    return [records[stage]["facts"] for stage in stages]


def _flat(study: Study) -> dict[str, Any]:
    from orchestrator.plan.explain import flatten

    parts = study.model_dump(include={"train", "sampling", "recoveries", "seeds", "dtype"}, exclude_none=True)
    return flatten(parts)
