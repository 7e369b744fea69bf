"""Style: the share of a student's completions that read like the teacher's and not like the base student's.

A classifier is fitted on the completions of both untrained models and applied to the trained student's; see
`evaluators/analysis/style.py`. Its accuracy on examples that it has not seen says whether the share means anything.

Source: our own design; the studies that offmodel repeats compare styles by reading.
"""

from collections.abc import Sequence
from typing import Any

from evaluators.analysis.statistics import Interval
from evaluators.analysis.style import DISTINCT, accuracy
from evaluators.analysis.values import Shares, text_of
from orchestrator.measures import POINTS, Column, Evaluation
from orchestrator.stages import style
from orchestrator.store.reader import StageReader
from orchestrator.store.stage import Stage
from orchestrator.study.benchmarks import GradedBenchmark
from orchestrator.study.hypotheses import TEACHER, UNTRAINED
from orchestrator.study.schema import Study

TITLE, UNIT = "completions in the teacher's style", "share"
LEGEND = (
    "Share of completions that read like the teacher's and not like the untrained student's, by a classifier of words "
    "and punctuation that has seen no completion of the same example; boxed answers are left out, and all numbers look "
    "alike. Classifier accuracy: how often it is right on the completions of these two models. Below "
    f"{DISTINCT} their styles hardly differ, and the share says little. A prefill counts as part of the completion."
)
SUBJECT, UNTRAINED_MODELS, GROUPED = POINTS, (UNTRAINED, TEACHER), False

COLUMNS = (
    Column(title="like the teacher", cell=lambda one: one.value),
    Column(title="change", cell=lambda one: one.change, format="{:+.3f}"),
    Column(title="untrained student", cell=lambda one: one.untrained),
    Column(title="teacher", cell=lambda one: one.teacher),
    Column(title="classifier accuracy", cell=lambda one: _accuracy(one.diagnostics["classifier_accuracy"])),
)


def check(study: Study, benchmark: str) -> None:
    declared = study.benchmarks[benchmark]
    if not isinstance(declared, GradedBenchmark):
        raise ValueError(f"{benchmark} is a task of lm-eval, whose completions need not be in words")
    if declared.longest == 1:
        raise ValueError(f"completions of {benchmark} are one token, which has no style")


def stages(evaluation: Evaluation) -> tuple[Stage, ...]:
    builder = evaluation.builder
    if builder.teacher in builder.study.data:
        return ()  # It has no completions of the benchmark.
    untrained, teacher = (
        builder.evaluate_untrained(alias, evaluation.name).inputs["generations"]
        for alias in (builder.student, builder.teacher)
    )
    return (style.stage(evaluation.stage.inputs["generations"], untrained, teacher),)


def values(reader: StageReader, stages: Sequence[Stage], of: str) -> Shares:
    shares = reader.read(stages[0], style.shares_of)
    model = "base" if of == UNTRAINED else of
    return Shares(ids=[one.id for one in shares], values=[getattr(one, model) for one in shares])


def diagnostics(reader: StageReader, stages_S: Sequence[Sequence[Stage]]) -> dict[str, float]:
    """The classifier's accuracy, which is the same for every seed: the two models that it was fitted on are."""
    return {"classifier_accuracy": accuracy(reader.read(stages_S[0][0], style.shares_of))}


def metrics(facts: Sequence[dict[str, Any]], untrained: Sequence[dict[str, Any]]) -> dict[str, float]:
    return {"style": facts[0]["share"]}


def text(interval: Interval) -> str:
    return text_of(interval, "{:.2f}")


def _accuracy(accuracy: float) -> str:
    return f"{accuracy:.3f}{'' if accuracy >= DISTINCT else ' (styles alike)'}"
