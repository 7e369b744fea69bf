"""Overlap of the training data with the base student's own samples: how off-policy the data of a condition is.

The F1 score of word bigrams (ROUGE-2) of each training row with the base student's plain completion of the same prompt,
as `on_model` trains on; and the share of rows that are the same text. Two plain draws do not agree wholly either:
declare a second draw as a condition, `{kind: on_model, sampling: {seed: 1}}`, to compare with. It is not measured where
the condition has prompts of its own, or no prompts. The answers of a data set are measured where the study takes its
prompts from that data set.

Source: our own design; the post that offmodel repeats says that off-policy data need not be harmful.
"""

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from evaluators.analysis.values import ALL, Ratios
from orchestrator.measures import TRAINING_DATA, Column
from orchestrator.stages import overlap
from orchestrator.stages.builder import Builder
from orchestrator.stages.data import PromptData
from orchestrator.stages.sample import DatasetPrompts
from orchestrator.stages.transform import origin
from orchestrator.store.reader import StageReader
from orchestrator.store.stage import Stage

TITLE, UNIT = "overlap of the training data with the untrained student's own samples", "share"
LEGEND = (
    "Overlap: F1 score of word bigrams (ROUGE-2) of each training row with the untrained student's plain completion of "
    "the same prompt. Identical: share of rows that are the same text."
)
SUBJECT, UNTRAINED_MODELS, GROUPED = TRAINING_DATA, (), False

COLUMNS = (
    Column(title="overlap", cell=lambda one: one.value),
    Column(title="identical", cell=lambda one: one.diagnostics["identical"]),
)


def stages(builder: Builder, data: Stage) -> tuple[Stage, ...]:
    made_from, own = origin(data), builder.sample(builder.student)
    return (overlap.stage(data, own),) if made_from is not None and _asked(made_from) == _asked(own) else ()


def _asked(sampled: Stage) -> Any:
    """The prompts of a sample, without their system message, or the data set that they are from."""
    while "generations" in sampled.inputs:  # rephrased
        sampled = sampled.inputs["generations"]
    if sampled.kind == "dataset":
        return sampled
    prompts = sampled.settings.prompts
    if isinstance(prompts, DatasetPrompts):
        return sampled.inputs["prompts"]
    return replace(prompts, system=None) if isinstance(prompts, PromptData) else prompts


def values(reader: StageReader, stages: Sequence[Stage], of: str) -> Ratios:
    """A value for each row. Rows of two conditions have other ids, so that they are compared as independent."""
    rows = reader.read(stages[0], overlap.overlaps_of)
    return Ratios(ids=[one.id for one in rows], sums=[{ALL: one.f1} for one in rows], tokens=[{ALL: 1} for _ in rows])


def diagnostics(reader: StageReader, stages_S: Sequence[Sequence[Stage]]) -> dict[str, float]:
    return {"identical": fmean(reader.facts(stage)["identical"] for (stage,) in stages_S)}


def metrics(facts: Sequence[dict[str, Any]], untrained: Sequence[dict[str, Any]]) -> dict[str, float]:
    return {"training data overlap": facts[0]["f1"], "training data identical": facts[0]["identical"]}
