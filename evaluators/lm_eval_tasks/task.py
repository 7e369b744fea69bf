"""The settings of an lm-eval task, and its result."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from evaluators.engines.generations import Generation
from evaluators.engines.requests import Request, RequestOutput, SamplingParams, TokenLogprobs

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
    sha256: str | None = None
    n: int | None = None
    seed: int = 0
    shots: int | None = None


@dataclass(frozen=True, kw_only=True)
class LmEvalResult:
    """The examples with lm-eval's grades, in the order in which they were drawn, and the results by task.

    Ids are derived from the rows' contents. A generation has all completions, with repeats; in a task that compares
    given options it has one, the most likely option, with all options' `option_logprobs`. Its score is the main metric
    of the task, from 0 to 1; `metric` names it. `truncated_prompts` counts the prompts that were cut on the left to fit
    the context. `results` has lm-eval's aggregated metrics, of groups as well.
    """

    generations: list[Generation]
    truncated_prompts: int
    results: dict[str, dict[str, Any]]
    metric: dict[str, str]
    versions: dict[str, Any]
