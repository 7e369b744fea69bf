"""Models behind an API, as a study meets them: what cannot be had of one, said before any work; what one counted."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from evaluators.engines.api import APIModel, key_of
from evaluators.engines.requests import Completion
from orchestrator.store.stage import Stage
from orchestrator.study.benchmarks import Benchmark, GradedBenchmark, LmEvalBenchmark

if TYPE_CHECKING:
    from orchestrator.study.models import Model


def is_api(model: Stage) -> bool:
    """Whether a stage `model` is of one behind an API."""
    return "api" in model.settings


def asked_with(served: APIModel) -> dict[str, Any]:
    """What of how an API is asked decides its answers."""
    return {"limit": served.max_tokens_field, "extra": dict(served.extra)}


def check_key(alias: str, model: "Model") -> None:
    """Raise ValueError where an API wants a key and the environment has none."""
    if model.served is not None:
        try:
            key_of(model.served)
        except ValueError as error:
            raise ValueError(f"models.{alias}: {error}") from error


def check_answers(model: Stage, thinking: str | None) -> None:
    """Raise ValueError where an API is to begin its answers as a study says. That thinking is on or off is the affair
    of a chat template; for an API it is in `extra`."""
    if is_api(model) and thinking == "empty":
        raise ValueError(f"thinking: {model.name} is behind an API, so its answers cannot begin with an empty block")


def check_asked(model: Stage, name: str, benchmark: Benchmark) -> None:
    """Raise ValueError for a benchmark that takes more of a model than text for text."""
    if not is_api(model):
        return
    where = f"benchmarks.{name}: {model.name} is behind an API, which shows no log-probabilities:"
    if isinstance(benchmark, LmEvalBenchmark):
        raise ValueError(f"{where} lm-eval tasks need open weights; use math500, olympiadbench, ifeval or mmlu")
    assert isinstance(benchmark, GradedBenchmark)
    if benchmark.answer_by == "logprob":
        raise ValueError(f"{where} use answer_by: generation")
    try:
        check_answers(model, benchmark.thinking)
    except ValueError as error:
        raise ValueError(f"benchmarks.{name}.{error}") from error


def check_judges(teacher: Stage, objective: str) -> None:
    """Raise ValueError where an API is to judge a student's tokens one by one."""
    if is_api(teacher):
        raise ValueError(
            f"{objective} learns from a teacher's probabilities, and {teacher.name} is behind an API, which shows "
            f"none: use an open teacher, or an objective that learns from answers"
        )


def counted(answers: Sequence[Completion]) -> dict[str, Any]:
    """Of answers of an API, for their record: the tokens that it read, and the models that it says have answered."""
    usages = [answer.usage for answer in answers if answer.usage is not None]
    if not usages:
        return {}
    return {
        "prompt_tokens": sum(usage.prompt_tokens for usage in usages),
        "served": dict(Counter(usage.model for usage in usages)),
    }
