"""Size of the update: how far the weights have moved, and how much training that took.

The Frobenius norm of a student's update, divided by that of the weights that changed, before they did. Beside it is
the dose of its last training: steps, supervised tokens, and the sum of the learning rates of all steps. So conditions
can be compared at an equal dose. Checkpoints have no dose of their own.

Source: our own design; the post that offmodel repeats does not report it.
"""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from evaluators.analysis.values import Figure
from orchestrator.measures import STUDENTS, Column
from orchestrator.stages import update
from orchestrator.stages.builder import Builder
from orchestrator.store.reader import StageReader
from orchestrator.store.stage import Stage

TITLE, UNIT = "size of the update", "relative norm"
LEGEND = (
    "Norm: Frobenius norm of the update, divided by that of the changed weights before; mean over seeds, with the "
    "interval of new seeds. Of the last training: its steps, its supervised tokens, and the sum of the learning rates "
    "of its steps."
)
SUBJECT, UNTRAINED_MODELS, GROUPED = STUDENTS, (), False

COLUMNS = (
    Column(title="norm", cell=lambda one: one.value, format="{:.4f}"),
    Column(title="steps", cell=lambda one: one.diagnostics.get("steps"), format="{:g}"),
    Column(title="supervised tokens", cell=lambda one: one.diagnostics.get("tokens"), format="{:,.0f}"),
    Column(title="summed learning rate", cell=lambda one: one.diagnostics.get("summed_rate"), format="{:.4g}"),
)


def stages(builder: Builder, student: Stage) -> tuple[Stage, ...]:
    return (update.stage(builder.study, student),)


def values(reader: StageReader, stages: Sequence[Stage], of: str) -> Figure:
    return Figure(value=reader.facts(stages[0])["norm"])


def diagnostics(reader: StageReader, stages_S: Sequence[Sequence[Stage]]) -> dict[str, float]:
    """Means over seeds; empty of checkpoints, which have no dose of their own, and of students without training."""
    trainings = [stage.inputs["student"] for (stage,) in stages_S]
    doses = [_dose(one, reader.facts(one)) for one in trainings if one.kind == "train" and not one.runtime.published_by]
    return {name: fmean(dose[name] for dose in doses) for name in doses[0]} if doses else {}


def _dose(training: Stage, facts: dict[str, Any]) -> dict[str, float]:
    rate = training.settings.train.summed_rate(facts["steps"])
    return {"steps": facts["steps"], "tokens": facts["tokens"], "summed_rate": rate}


def metrics(facts: Sequence[dict[str, Any]], untrained: Sequence[dict[str, Any]]) -> dict[str, float]:
    return {"update norm": facts[0]["norm"]}


def text(interval: Any) -> str:
    return f"{interval.value:.4f}"
