"""KL(student || base student) per token, on a benchmark's prompts: how far training has moved the student.

The trained student samples one completion for each prompt at temperature 1, whatever the benchmark's own temperature;
the mean over tokens of log p_student - log p_base of these completions estimates the divergence. By class of token if
the completion shows where its final answer begins.

Source: a Monte Carlo estimate of the usual definition; the studies that offmodel repeats do not measure it.
"""

from collections.abc import Sequence
from typing import Any

from evaluators.analysis.values import Ratios
from orchestrator.measures import POINTS, Column, Evaluation
from orchestrator.stages import logprobs, sample
from orchestrator.stages.logprobs import logprobs_of
from orchestrator.store.reader import StageReader
from orchestrator.store.stage import Stage
from orchestrator.study.hypotheses import UNTRAINED
from orchestrator.study.prompts import ALL_TOKENS
from orchestrator.study.schema import Study

TITLE, UNIT = "KL(student || untrained student)", "nats per token"
LEGEND = "Over completions that the student samples at temperature 1, by class of token. Seeds are pooled by prompt."
SUBJECT, UNTRAINED_MODELS, GROUPED = POINTS, (UNTRAINED,), False

AS_LIKELY = {"temperature": 1.0, **ALL_TOKENS, "samples": 1, "score": "mean", "answer_by": "generation"}
COLUMNS = (
    Column(title="all tokens", cell=lambda one: one.value),
    Column(title="reasoning", cell=lambda one: one.classes.get("reasoning")),
    Column(title="final answer", cell=lambda one: one.classes.get("answer")),
)


def check(study: Study, benchmark: str) -> None:
    if study.benchmarks[benchmark].task is not None:
        raise ValueError(f"{benchmark} is a task of lm-eval, which defines its own prompts")


def stages(evaluation: Evaluation) -> tuple[Stage, ...]:
    """The completions' log-probabilities under the student, and under the base student."""
    if evaluation.student is None:
        return ()
    study, base = evaluation.builder.study, evaluation.builder.model(evaluation.builder.student)
    benchmark = evaluation.benchmark.model_copy(update=AS_LIKELY)
    drawn = sample.of_benchmark(evaluation.name, benchmark, study, base, evaluation.student)
    return tuple(logprobs.stage(study, base, student, drawn, by="ids") for student in (evaluation.student, None))


def values(reader: StageReader, stages: Sequence[Stage], of: str) -> Ratios:
    """Log-probability under the student less that under the base student; of the base student itself 0."""
    ours, theirs = (reader.read(stage, logprobs_of) for stage in stages)
    assert [row.id for row in ours] == [row.id for row in theirs], "completions do not pair"
    ours = theirs if of == UNTRAINED else ours
    return Ratios(
        ids=[row.id for row in ours],
        sums=[
            {name: one.logprob[name] - other.logprob[name] for name in one.logprob}
            for one, other in zip(ours, theirs, strict=True)
        ],
        tokens=[row.tokens for row in ours],
    )


def metrics(facts: Sequence[dict[str, Any]], untrained: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Both are means over the same tokens, so that their difference is the mean of the difference."""
    ours, theirs = (one["nll"] for one in facts)
    return {f"kl {name}": theirs[name] - nll for name, nll in ours.items()}
