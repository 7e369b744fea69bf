"""What is asked of a task of lm-eval, and what comes back."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from evaluators.engines.requests import Completion, Request, RequestOutput, SamplingParams, TokenLogprobs

Answering = Callable[[list[Request], SamplingParams], Iterable[tuple[int, RequestOutput]]]
Weighing = Callable[[list[Request]], Iterable[tuple[int, TokenLogprobs]]]


@dataclass(frozen=True)
class LmEvalTask:
    """A task of lm-eval, or a group of them, and how it is asked.

    `tokenizer` is a folder or hub id, `context` the engine's (None: what the checkpoint's configuration says). `rows`
    is a JSONL file in the task's own schema, in the place of its data set. `n` rows are drawn by `seed`, which also
    seeds samples. `shots` overrides the task's `num_fewshot`.
    """

    name: str
    tokenizer: str
    max_model_len: int | None
    chat: bool = True
    rows: str | None = None
    n: int | None = None
    seed: int = 0
    shots: int | None = None


@dataclass(frozen=True)
class LmEvalExample:
    """One example as it was asked, answered, and graded by lm-eval.

    `id` belongs to the content of the row. `answers` are what was generated, with all repeats; where a task compares
    the likelihoods of given texts it is the likeliest one, with those of all as its `option_logprobs`. `truncated`: the
    prompt lost its beginning to fit into the context. `score` is the example's value of its task's main metric
    (`LmEvalResult.metric`), from 0 to 1, and `metrics` has all that are numbers, by "name,filter".
    """

    id: str
    task: str
    prompt: str
    prompt_token_ids: tuple[int, ...]
    truncated: bool
    completions: tuple[Completion, ...]
    score: float
    metrics: dict[str, float]


@dataclass(frozen=True)
class LmEvalResult:
    """The examples, in the order in which they were drawn, and what lm-eval makes of them all.

    The other fields are by task: lm-eval's metrics (groups have theirs too), the main metric, and the task's version.
    """

    examples: list[LmEvalExample]
    results: dict[str, dict[str, Any]]
    metric: dict[str, str]
    versions: dict[str, Any]
