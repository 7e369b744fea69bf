"""Models behind an API: their identity, checks for what an API cannot do, and its token counts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evaluators.engines.api import APIModel, key_of
from evaluators.engines.requests import Completion
from orchestrator.store.stage import Stage
from orchestrator.study.benchmarks import Benchmark, GradedBenchmark, LmEvalBenchmark
from orchestrator.study.models import Model
from orchestrator.study.prompts import Sampling


@dataclass(frozen=True, kw_only=True)
class APISettings:
    """What decides the completions of a model behind an API; see APIModel."""

    model: str
    base_url: str
    max_tokens_field: str
    extra: Mapping[str, Any]


def api_settings(served: APIModel) -> APISettings:
    return APISettings(
        model=served.model, base_url=served.base_url, max_tokens_field=served.max_tokens_field, extra=served.extra
    )


def is_api(model: Stage) -> bool:
    """Whether a stage `model` is a model behind an API."""
    return isinstance(model.settings, APISettings)


def check_key(alias: str, model: Model) -> None:
    """Raise ValueError if an API needs a key and the environment has none."""
    if model.served is not None:
        try:
            key_of(model.served)
        except ValueError as error:
            raise ValueError(f"models.{alias}: {error}") from error


def check_answers(model: Stage, declared: Sampling | GradedBenchmark, where: str) -> None:
    """Raise ValueError for sampling that an API does not take: `thinking: empty` is a prefill, and `top_k` and `min_p`
    are no parameters of OpenAI's API. `where` is the place of `declared` in the study.

    `thinking: on` and `off` are switches of a chat template; an API has them in `extra`.
    """
    if not is_api(model):
        return
    if declared.thinking == "empty":
        raise ValueError(
            f"{where}.thinking: {model.name} is behind an API, which takes no prefill such as an empty think block: "
            f"use thinking: off, which does not reach an API"
        )
    for key in ("top_k", "min_p"):
        value = getattr(declared, key)
        if value and key not in model.settings.extra:
            raise ValueError(
                f"{where}.{key}: {model.name} is behind an API, and {key} is no parameter of OpenAI's API: say in the "
                f"model's extra what it gets in its place, {{{key}: {value}}} for a server that takes it, as vLLM's, "
                f"or else {{{key}: null}}"
            )


def check_asked(model: Stage, name: str, benchmark: Benchmark) -> None:
    """Raise ValueError for a benchmark that needs log-probabilities or a prefill of an API."""
    if not is_api(model):
        return
    where = f"benchmarks.{name}: {model.name} is behind an API, which shows no log-probabilities:"
    if isinstance(benchmark, LmEvalBenchmark):
        raise ValueError(
            f"benchmarks.{name}: lm-eval tasks are not supported for API models, as {model.name}; use math500, gsm8k, "
            f"olympiadbench, ifeval or mmlu"
        )
    assert isinstance(benchmark, GradedBenchmark)
    if benchmark.answer_by == "logprob":
        raise ValueError(f"{where} use answer_by: generation")
    try:
        check_answers(model, benchmark, f"benchmarks.{name}")
    except ValueError as error:
        raise ValueError(f"{error} (teachers are evaluated on every benchmark)") from error


def check_judges(teacher: Stage, objective: str) -> None:
    """Raise ValueError for an objective that needs the token probabilities of a teacher behind an API."""
    if is_api(teacher):
        raise ValueError(
            f"{objective} learns from a teacher's probabilities, and {teacher.name} is behind an API, which shows "
            f"none: use an open teacher, or an objective that learns from answers"
        )


def check_reasoning(model: Stage) -> None:
    """Raise ValueError for an API as the source of training data of which only what follows the reasoning counts."""
    if is_api(model):
        raise ValueError(
            f"train.loss_on: after_reasoning needs completions with their reasoning, and those of {model.name}, which "
            f"is behind an API, come without: use empty_reasoning or answer, or leave its pairs out (pairs)"
        )


def counted(completions: Sequence[Completion]) -> dict[str, Any]:
    """Facts on the completions of an API: prompt tokens, and completions by the model that the API names."""
    usages = [completion.usage for completion in completions if completion.usage is not None]
    if not usages:
        return {}
    return {
        "prompt_tokens": sum(usage.prompt_tokens for usage in usages),
        "served": dict(Counter(usage.model for usage in usages)),
    }
