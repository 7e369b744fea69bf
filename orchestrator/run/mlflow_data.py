"""What MLflow shows of a study: parameters, data sets, scores by recovery budget, and curves of trainings by step."""

import hashlib
import json
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from evaluators.imports import IMPORTS
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
from orchestrator.study.settings import flatten

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

LONGEST_NAME, LONGEST_VALUE = 250, 500  # characters of a name, and of a parameter's value, that every server takes


def valid_names(names: Iterable[str]) -> dict[str, str]:
    """Names of parameters or metrics as MLflow takes them, by the given ones. Different names stay different."""
    cleaned = {name: _valid(name) for name in names}
    count = Counter(cleaned.values())
    return {
        name: valid if valid == name or count[valid] == 1 else f"{valid[: LONGEST_NAME - 9]}-{digest(name)[:8]}"
        for name, valid in cleaned.items()
    }


def _valid(name: str) -> str:
    """MLflow takes word characters, some punctuation, and slashes only as in a normal relative path."""
    valid = re.sub(r"[^\w\-. :/]", "_", name)[:LONGEST_NAME]
    if posixpath.normpath(valid) != valid or valid == "." or valid.startswith(("/", "..")):
        valid = re.sub(r"[/.]", "_", valid) or "_"
    return valid


def digest(*parts: str) -> str:
    """A short hash of these texts."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def study_params(study: Study) -> dict[str, Any]:
    """The parameters of a study's run."""
    parts = study.model_dump(include={"train", "sampling", "recoveries", "seeds", "dtype"}, exclude_none=True)
    return {"name": study.name, "store": without_secrets(study.store), **flatten(parts)}


def trial_params(trial: Trial, points: list[EvaluationPoint], study: Study) -> dict[str, Any]:
    """The parameters of a trial's run."""
    return {
        **trial.params,
        "budget": max(point.budget for point in points),
        "budgets": " ".join(str(point.budget) for point in points if point.step is None),
        "tuning": study.train.tuning,
    }


def datasets(plan: Plan) -> "list[DatasetInput]":
    """The data sets of a study: training prompts and benchmarks."""
    with IMPORTS:
        from mlflow.entities import Dataset, DatasetInput, InputTag

    sources = {"training prompts": plan.study.prompts.source} | {
        name: benchmark.source or benchmark.kind for name, benchmark in plan.study.benchmarks.items()
    }
    sources |= {name: declared.source for name, declared in plan.study.data.items()}
    identities: dict[str, Any] = {}
    for stage in plan.stages:
        prompts = stage.settings.prompts if stage.kind == "sample" else None
        if stage.kind == "train" and isinstance(stage.settings.examples, TrainingPrompts):
            prompts = stage.settings.examples.prompts
        if stage.kind == "dataset":
            identities[stage.runtime.name] = stage.settings
        elif isinstance(prompts, PromptData):
            identities["training prompts"] = prompts
        elif isinstance(prompts, BenchmarkPrompts) and stage.runtime.benchmark is not None:
            identities[stage.runtime.benchmark] = prompts.examples
        elif isinstance(prompts, TaskPrompts):
            identities[stage.runtime.benchmark] = prompts
    inputs = []
    for name, identity in identities.items():
        context = InputTag("mlflow.data.context", "evaluation" if name in plan.study.benchmarks else "training")
        inputs.append(DatasetInput(Dataset(name, digest(repr(identity))[:8], "offmodel", sources[name]), [context]))
    return inputs


def trial_metrics(
    trial: Trial, points: list[EvaluationPoint], records: dict[Stage, dict], store: Store
) -> Iterator[tuple[str, float, int]]:
    """All metrics of a trial: name, value, and step."""
    for point in points:
        yield from _measures(trial, point, records)
        yield from _curve(point, store)


def _measures(trial: Trial, point: EvaluationPoint, records: dict[Stage, dict]) -> Iterator[tuple[str, float, int]]:
    """All measures of a point against the recovery budget, or, of a checkpoint, against the training step."""
    found: dict[str, float] = {}
    for name, stages in trial.training_data.items():
        if all(stage in records for stage in stages):
            found |= MEASURES.module(name).metrics(_facts(stages, records), ())
    for name, stages in point.of_student.items():
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


def _curve(point: EvaluationPoint, store: Store) -> Iterator[tuple[str, float, int]]:
    """The metrics of a student's training, by training step."""
    student = point.student
    if student is None or student.kind != "train" or student.runtime.published_by is not None:
        return  # The curve of a checkpoint is the beginning of its training's.
    record = store.record(student)
    assert record is not None, f"{student.address} is not done"
    lines = store.read(f"{student.address}/{record['attempt']}/{STEPS}")
    assert lines is not None, f"{student.address} has left no {STEPS}"
    prefix = f"recovery {point.budget}" if point.budget else "training"
    for line in lines.decode().splitlines():
        metrics = json.loads(line)
        step = metrics.pop("step")
        yield from ((f"{prefix}/{name}", float(value), step) for name, value in metrics.items())
