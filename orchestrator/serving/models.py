"""The models that `offmodel serve` offers: those of the study, and every student that is trained, by name."""

from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.plan.trial import EvaluationPoint, Plan, Trial
from orchestrator.stages.builder import Builder
from orchestrator.store.checkpoints import adapter_of, checkpoint_of, local_path
from orchestrator.store.stage import Stage
from orchestrator.store.store import Store


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """`base` is the address of the stage that has the full weights, `adapter` that of a LoRA adapter on them."""

    name: str
    base: Stage
    adapter: Stage | None = None


def served_models(plan: Plan, store: Store) -> list[ServedModel]:
    """All open models and trained students of a study that are in its store. A model behind an API is served there.
    Conditions that evaluate the same student in several ways have it under the name of the first."""
    found: dict[str, ServedModel] = {}
    students: dict[str, str] = {}
    for alias, declared in plan.study.models.items():
        if declared.served is None:
            stage = Builder(plan.study, alias, alias, 0).model(alias)
            found[alias] = ServedModel(name=alias, base=stage)
    for trial in plan.trials:
        for point in trial.points:
            if point.student is not None:
                name = students.setdefault(point.student.address, name_of(trial, point))
                adapts = point.student.settings.leaves_adapter
                found[name] = ServedModel(
                    name=name,
                    base=point.student.inputs["base"] if adapts else point.student,
                    adapter=point.student if adapts else None,
                )
    return [model for model in found.values() if _is_done(model, store)]


def name_of(trial: Trial, point: EvaluationPoint) -> str:
    """The name of a trained student: that of its trial, and its budget or step. It has no spaces."""
    names = [trial.student, trial.teacher, trial.condition]
    if point.recovery:
        names += [point.recovery, str(point.budget)]
    names.append(f"s{trial.seed}")
    if point.step is not None:
        names.append(f"step{point.step}")
    return ".".join(names).replace(" ", "-")


def _is_done(model: ServedModel, store: Store) -> bool:
    return all(store.record(stage) is not None for stage in (model.base, model.adapter) if stage is not None)


def by_base(models: list[ServedModel]) -> dict[str, list[ServedModel]]:
    """The models by the address of their full weights: one server has all models of a base."""
    found: dict[str, list[ServedModel]] = {}
    for model in models:
        found.setdefault(model.base.address, []).append(model)
    return found


def folders(models: list[ServedModel], store: Store) -> Iterator[tuple[str, str]]:
    """The names of adapters, each with its local folder."""
    for model in models:
        if model.adapter is not None:
            yield model.name, str(adapter_of(store, model.adapter.address))


def checkpoint(model: ServedModel, store: Store) -> str:
    """The local folder of a model's full weights."""
    return checkpoint_of(store, model.base.address, local_path(model.base))
