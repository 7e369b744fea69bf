"""The settings of an lm-eval task, and its result."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any

from evaluators.engines.chat_template import Thinking
from evaluators.engines.generations import Generation
from evaluators.engines.requests import Request, RequestOutput, SamplingParams, TokenLogprobs

GENERATES = "generate_until"  # the output type of tasks that grade completions

Generate = Callable[[list[Request], SamplingParams], Iterable[tuple[int, RequestOutput]]]
Score = Callable[[list[Request]], Iterable[tuple[int, TokenLogprobs]]]


@dataclass(frozen=True, kw_only=True)
class TaskSampling:
    """What takes the place of a generating task's own sampling settings, which are kept where it is None.

    `samples` completions of each example are graded one by one, and their metrics are averaged. `thinking` is that of
    the chat template.
    """

    thinking: Thinking | None = None
    samples: int = 1
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None

    def check(self, name: str, output_type: str, repeats: int) -> None:
        """Raise ValueError for settings that a task of this output type, with these repeats, does not take."""
        given = [each.name for each in fields(self) if getattr(self, each.name) != each.default]
        if given and output_type != GENERATES:
            raise ValueError(
                f"lm_eval:{name} compares log-probabilities and generates no completions ({output_type}), so that "
                f"{', '.join(given)} would have no effect: leave out, or use a task of output_type {GENERATES}, as "
                f"mmlu_generative in place of mmlu"
            )
        if self.samples > 1 and repeats > 1:
            raise ValueError(
                f"lm_eval:{name} samples {repeats} completions of each example itself (repeats) and makes a score of "
                f"them: leave samples out"
            )


@dataclass(frozen=True, kw_only=True)
class LmEvalTask:
    """A task or a group of tasks of lm-eval, with its settings.

    `tokenizer` is a folder or a hub id; `max_model_len` is the engine's (None: as in the checkpoint's configuration).
    `chat` applies the chat template. `rows` is a JSONL file in the task's own schema that replaces its data set. `n`
    rows are drawn with `seed`, which also seeds sampling. `shots` overrides the task's `num_fewshot`, and `sampling`
    how a task samples that generates.
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
    sampling: TaskSampling = TaskSampling()


@dataclass(frozen=True, kw_only=True)
class LmEvalResult:
    """The examples with lm-eval's grades, in the order in which they were drawn, and the results by task.

    Ids are derived from the rows' contents. A generation has all completions, with repeats and their reasoning; in a
    task that compares given options it has one, the most likely option, with all options' `option_logprobs`. Its score
    is the main metric of the task, from 0 to 1; `metric` names it. `truncated_prompts` counts the prompts that were cut
    on the left to fit the context. `results` has lm-eval's aggregated metrics, of groups as well. Scores, metrics and
    results are means over the samples.
    """

    generations: list[Generation]
    truncated_prompts: int
    results: dict[str, dict[str, Any]]
    metric: dict[str, str]
    versions: dict[str, Any]
