"""Perplexity of the training data: how likely the base student finds the completions that a condition trains it on.

The mean negative log-likelihood per token (training-data NLL, in nats), by the text of the completions, so that data of
models with other tokenizers can be compared; perplexity is its exponential. By class of token where a completion shows
where its final answer begins. Data without a prompt, such as streams of random tokens, has none.

Source: a rejected explanation of the post that offmodel repeats ("the data surprises the student"); our estimator.
"""

from collections.abc import Sequence
from math import exp
from typing import Any

from evaluators.analysis.logprobs import nll
from evaluators.analysis.statistics import Interval
from evaluators.analysis.values import Ratios, text_of
from orchestrator.measures import TRAINING_DATA, Column
from orchestrator.stages.builder import Builder
from orchestrator.stages.logprobs import logprobs_of
from orchestrator.stages.transform import origin
from orchestrator.store.reader import StageReader
from orchestrator.store.stage import Stage

TITLE, UNIT = "perplexity of the training data under the untrained student", "nats per token"
LEGEND = (
    "NLL: mean negative log-likelihood, in nats per token, of the completions that a condition trains the student on, "
    "under the untrained student. Perplexity is its exponential."
)
SUBJECT, UNTRAINED_MODELS, GROUPED = TRAINING_DATA, (), False

COLUMNS = (
    Column(title="perplexity", cell=lambda one: exp(one.value.value), format="{:.3g}"),
    Column(title="NLL, all tokens", cell=lambda one: one.value),
    Column(title="NLL, reasoning", cell=lambda one: one.classes.get("reasoning")),
    Column(title="NLL, final answer", cell=lambda one: one.classes.get("answer")),
)


def stages(builder: Builder, data: Stage) -> tuple[Stage, ...]:
    return (builder.training_nll(data),) if origin(data) is not None else ()


def values(reader: StageReader, stages: Sequence[Stage], of: str) -> Ratios:
    return nll(reader.read(stages[0], logprobs_of))


def metrics(facts: Sequence[dict[str, Any]], untrained: Sequence[dict[str, Any]]) -> dict[str, float]:
    return {f"training data nll {name}": nll for name, nll in facts[0]["nll"].items()}


def text(interval: Interval) -> str:
    return text_of(Interval(exp(interval.value), exp(interval.low), exp(interval.high)), "{:.3g}")
