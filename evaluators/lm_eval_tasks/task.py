"""The settings of an lm-eval task, and its result."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from evaluators.engines.requests import Completion, Request, RequestOutput, SamplingParams, TokenLogprobs

Generate = Callable[[list[Request], SamplingParams], Iterable[tuple[int, RequestOutput]]]
Score = Callable[[list[Request]], Iterable[tuple[int, TokenLogprobs]]]


@dataclass(frozen=True, kw_only=True)
class LmEvalTask:
    """A task or a group of tasks of lm-eval, with its settings.

    `tokenizer` is a folder or a hub id; `max_model_len` is the engine's (None: as in the checkpoint's configuration).
    `chat` applies the chat template. `rows` is a JSONL file in the task's own schema that replaces its data set. `n`
    rows are drawn with `seed`, which also seeds sampling. `shots` overrides the task's `num_fewshot`.
    """

    name: str
    tokenizer: str
    max_model_len: int | None
    chat: bool = True
    rows: str | None = None
    n: int | None = None
    seed: int = 0
    shots: int | None = None


@dataclass(frozen=True, kw_only=True)
class LmEvalExample:
    """One example with its completions, graded by lm-eval.

    `id` is derived from the row's content. `completions` are all that were generated, with repeats; a task that
    compares given options has one completion, the most likely option, with all options' `option_logprobs`.
    `prompt_truncated`: the prompt was cut on the left to fit the context. `score` is the main metric of the task
    (`LmEvalResult.metric`), from 0 to 1; `metrics` has all numeric metrics by "name,filter".
    """

    id: str
    task: str
    prompt: str
    prompt_token_ids: tuple[int, ...]
    prompt_truncated: bool
    completions: tuple[Completion, ...]
    score: float
    metrics: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class LmEvalResult:
    """The examples in the order in which they were drawn, and the results by task.

    `results` has lm-eval's aggregated metrics, of groups as well; `metric` names the main metric.
    """

    examples: list[LmEvalExample]
    results: dict[str, dict[str, Any]]
    metric: dict[str, str]
    versions: dict[str, Any]
