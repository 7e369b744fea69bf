"""The benchmarks of a study: benchmarks that offmodel grades, and tasks of lm-eval."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from evaluators.benchmarks import BENCHMARKS
from evaluators.grading.aggregate import check_aggregation
from evaluators.lm_eval_tasks.task import TaskSampling
from evaluators.messages import listed
from evaluators.suggest import did_you_mean
from orchestrator.study.prompts import (
    SOURCE,
    SYNTHETIC,
    THINKING,
    MinP,
    Part,
    Thinking,
    TopK,
    check_prompt,
    check_sampled,
    check_synthetic,
)
from orchestrator.study.settings import Count, Settings, Source

LM_EVAL = "lm_eval:"  # begins the kind of a task of lm-eval
GRADED = "use a benchmark that offmodel grades"
KIND = f"{', '.join(BENCHMARKS)}, or `lm_eval:TASK` for any task of lm-eval"
OWN = "takes the place of the task's own setting"


class Benchmark(Settings):
    """What benchmarks and tasks of lm-eval have in common."""

    RENAMED: ClassVar[dict[str, str]] = {"num_fewshot": "unknown key; use shots", "limit": "unknown key; use n"}

    kind: str = Field(description=KIND)
    source: Source | None = Field(
        None,
        description=f"where examples come from: {SOURCE} (of the toy models); the benchmark's own data set by default",
    )
    n: Count = Field(200, description="examples to draw, or all")
    seed: int = Field(0, description="seed of the draw")
    thinking: Thinking = Field(None, description=THINKING)
    max_tokens: int | None = Field(
        None, gt=0, description="the most tokens of a completion; the benchmark's or the task's by default"
    )
    samples: int = Field(1, gt=0, description="completions of each example")

    @property
    def task(self) -> str | None:
        """The name of the lm-eval task; None for a benchmark that offmodel grades."""
        return None

    @property
    def longest(self) -> int | None:
        """The most tokens of a completion; None for those of an lm-eval task, where only lm-eval knows it."""
        return self.max_tokens


class GradedBenchmark(Benchmark):
    """A benchmark whose completions offmodel grades."""

    HINTS: ClassVar[dict[str, str]] = {
        **Benchmark.RENAMED,
        "chat": "has no effect here: it is for tasks of lm-eval",
        "shots": 'has no effect here: it is for tasks of lm-eval, as {kind: "lm_eval:mmlu", shots: 5}',
    }
    kind: str = Field(description=KIND, json_schema_extra={"enum": list(BENCHMARKS)})
    prompt: str | None = Field(
        None, description="the prompt, with columns of the row in braces; the benchmark's own by default"
    )
    system: str | None = Field(None, description="a system message; none by default")
    part: Part = None
    answer_by: Literal["generation", "logprob"] = Field(
        "generation",
        description="of multiple choice: grade the generated letter, or the letter with the highest log-probability",
    )
    temperature: float = Field(0.0, ge=0, le=2, description="0 is greedy")
    top_p: float = Field(1.0, gt=0, le=1, description="nucleus sampling, with a temperature above 0")
    top_k: TopK = 0
    min_p: MinP = 0.0
    score: str = Field(
        "mean",
        description="the score of an example from its completions: mean (avg@n), majority, majority@k or pass@k; with "
        "`by chance` after it, completions are graded against another example",
    )
    skip_unreadable: bool = Field(
        False,
        description="leave out examples whose gold answer math-verify cannot parse, and name them, in place of an "
        "error; they are sampled and not graded",
    )

    @property
    def longest(self) -> int:
        return self.max_tokens or BENCHMARKS.module(self.kind).MAX_TOKENS

    @field_validator("kind")
    @classmethod
    def _exists(cls, kind: str) -> str:
        if kind not in BENCHMARKS:
            raise ValueError(f'there is no "{kind}"; {did_you_mean(kind, BENCHMARKS)} (or lm_eval:<task>)')
        return kind

    @model_validator(mode="after")
    def _has_an_effect(self) -> "GradedBenchmark":
        graded = BENCHMARKS.module(self.kind)
        if self.answer_by == "logprob":
            if not graded.OPTIONS:
                raise ValueError(f"answer_by: {self.kind} is not multiple choice, so it has no options to compare")
            if self.samples > 1 or self.temperature > 0 or self.max_tokens:
                raise ValueError(
                    "answer_by: logprob reads off one token and samples none: leave samples, temperature and "
                    "max_tokens out"
                )
        if self.thinking == "on" and self.longest == 1:
            raise ValueError(f"thinking: a completion of one token has no room for it; raise max_tokens of {self.kind}")
        _check_sampling(self)
        if self.score.startswith("majority") and not graded.VOTES:
            raise ValueError(f"score: completions for {self.kind} have no part to vote on; use mean or pass@k")
        check_aggregation(self.score, self.samples)
        check_synthetic(self.kind, self.source)
        check_prompt(self.kind, self.prompt)
        if self.n is None and self.source == SYNTHETIC:
            raise ValueError("n: synthetic examples have no end: give a number")
        if self.source is None and self.n is not None and self.n > graded.ROWS:
            raise ValueError(
                f"n: {self.kind} has {graded.ROWS:,} examples: give at most as many, or all, not {self.n:,}"
            )
        return self


def _check_sampling(declared: "GradedBenchmark | LmEvalBenchmark") -> None:
    check_sampled(declared)
    if declared.samples > 1 and not declared.temperature:
        raise ValueError(f"samples: {declared.samples} greedy completions are all the same: set temperature, as to 0.7")


class LmEvalBenchmark(Benchmark):
    """A task of lm-eval, which defines its own prompts and grading, and its sampling where the study does not."""

    HINTS: ClassVar[dict[str, str]] = {
        **Benchmark.RENAMED,
        **dict.fromkeys(
            GradedBenchmark.model_fields.keys() - Benchmark.model_fields.keys(),
            "has no effect on a task of lm-eval, which defines its own prompts and grading: leave it out, or "
            f"{GRADED} (kind: {', '.join(BENCHMARKS)})",
        ),
    }
    kind: str = Field(pattern=f"^{LM_EVAL}.", description=KIND)
    chat: bool = Field(True, description="of lm-eval tasks: apply the chat template")
    shots: int | None = Field(
        None,
        ge=0,
        description="of lm-eval tasks: examples in the prompt (num_fewshot); the task's own by default",
    )
    temperature: float | None = Field(None, ge=0, le=2, description=f"of lm-eval tasks: {OWN}; 0 is greedy")
    top_p: float | None = Field(None, gt=0, le=1, description=f"of lm-eval tasks: {OWN}")
    top_k: TopK | None = Field(None, description=f"of lm-eval tasks: {OWN}")
    min_p: MinP | None = Field(None, description=f"of lm-eval tasks: {OWN}")

    @property
    def task(self) -> str:
        return self.kind.removeprefix(LM_EVAL)

    @property
    def sampling(self) -> TaskSampling:
        """What takes the place of the task's own sampling."""
        return TaskSampling(**self.model_dump(include=set(TaskSampling.__dataclass_fields__)))

    @model_validator(mode="after")
    def _has_an_effect(self) -> "LmEvalBenchmark":
        if self.source == SYNTHETIC:
            raise ValueError(f"source: there are no synthetic examples of {self.kind}; give a JSONL file, or none")
        if self.thinking is not None and not self.chat:
            raise ValueError("thinking has no effect without a chat template: set chat to true, or leave it out")
        _check_sampling(self)
        return self


def instead_of(benchmark: Benchmark) -> str:
    """What to write in place of a benchmark whose completions offmodel does not generate, as a task of lm-eval."""
    generating = [name for name in BENCHMARKS if BENCHMARKS.module(name).MAX_TOKENS > 1]
    if benchmark.task in generating:
        return f"use kind: {benchmark.task}, which offmodel grades"
    return f"{GRADED}, with kind: {listed(generating)}"


def _kind_of(value: Any) -> str:
    kind = value.kind if isinstance(value, Benchmark) else value.get("kind") if isinstance(value, dict) else None
    return "<lm_eval>" if str(kind).startswith(LM_EVAL) else "<graded>"


AnyBenchmark = Annotated[
    Annotated[GradedBenchmark, Tag("<graded>")] | Annotated[LmEvalBenchmark, Tag("<lm_eval>")], Discriminator(_kind_of)
]
