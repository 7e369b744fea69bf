"""Training prompts, how models sample completions of them, and the problems of RL."""

import re
from string import Formatter
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from evaluators.benchmarks import BENCHMARKS
from evaluators.suggest import did_you_mean
from orchestrator.study.settings import Count, Settings, Source
from organisms.rows import BENCHMARK_ROWS

SYNTHETIC = "synthetic"
SOURCE = (
    "a hub data set, a JSONL or Parquet file (a path relative to the working directory, or a URI of fsspec such as "
    "s3://bucket/rows.jsonl), or `synthetic`"
)
PART = (
    "only rows of this part: train (80 %), validation or test (10 % each), by a hash of the prompt's text, so that the "
    "parts of all sources never overlap; all rows by default"
)
Part = Annotated[Literal["train", "validation", "test"] | None, Field(description=PART)]

ESCAPE = "write {{ and }} for braces"


def _switch_from_bool(value: Any) -> Any:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value  # YAML reads on and off as booleans


Thinking = Annotated[
    Literal["on", "off", "empty"] | None,
    BeforeValidator(_switch_from_bool, json_schema_input_type=Literal["on", "off", "empty"] | bool | None),
]
THINKING = (
    "of reasoning models: on and off turn the switch of the chat template; empty prefills an empty `<think></think>` "
    "block; by default the template decides"
)

# Names and meanings are vLLM's.
TopK = Annotated[int, Field(ge=0, description="sample from this many of the most likely tokens; 0: from all")]
MinP = Annotated[
    float,
    Field(ge=0, le=1, description="sample from tokens with at least this share of the most likely one's probability"),
]
ALL_TOKENS = {"top_p": 1.0, "top_k": 0, "min_p": 0.0}  # sampling from all tokens


def check_sampled(declared: Any) -> None:
    """Raise ValueError for settings that leave out unlikely tokens where completions are greedy."""
    for key, off in ALL_TOKENS.items():
        if not declared.temperature and getattr(declared, key) not in (None, off):
            raise ValueError(f"{key} has no effect on greedy completions: set temperature, or leave it out")


def check_synthetic(kind: str, source: str | None) -> None:
    """Raise ValueError for synthetic rows of a benchmark that has none."""
    if source == SYNTHETIC and kind not in BENCHMARK_ROWS:
        raise ValueError(f"source: there are no synthetic rows of {kind}, only of {', '.join(BENCHMARK_ROWS)}")


def names_in_braces(template: str) -> set[str]:
    """The names that a template of `str.format` has in braces. Raises ValueError for a brace without its pair."""
    try:
        return {name for _, name, _, _ in Formatter().parse(template) if name is not None}
    except ValueError as error:
        raise ValueError(f"{error}; {ESCAPE}") from error


def check_prompt(kind: str, prompt: str | None) -> None:
    """Raise ValueError for a prompt that names none of a benchmark's own columns, or has braces without a name."""
    if prompt is None:
        return
    module = BENCHMARKS.module(kind)
    try:
        named = {re.split(r"[.[]", name)[0] for name in names_in_braces(prompt)}
    except ValueError as error:
        raise ValueError(f"prompt: {error}") from error
    own = names_in_braces(module.PROMPT)
    if "" in named:
        raise ValueError(f"prompt: it has braces without a column's name; {ESCAPE}")
    if not named & {*own, *module.COLUMNS}:
        raise ValueError(
            f"prompt: it names {', '.join(sorted(named)) or 'nothing'} in braces; it must name a column of {kind}, as "
            f"{' '.join(f'{{{name}}}' for name in sorted(own))}; {ESCAPE}"
        )


class Prompts(Settings):
    """The training prompts, of which models sample completions. Recorded completions are a source of `data`."""

    HINTS = dict.fromkeys(
        ("answer_column", "answers", "output_column", "response_column"),
        "unknown key; recorded completions are a source of data, as data: {humans: {source: rows.jsonl, prompt: "
        "question, answer: reply}}, which pairs name as a teacher",
    )

    source: Source = Field(
        description=f"{SOURCE} (prompts of the toy models), or a key of data, whose prompts are taken"
    )
    column: str = Field("instruction", description="the column that holds the prompt")
    input_column: str | None = Field(
        None, description="a column appended to the prompt where it is not empty (Alpaca's `input`)"
    )
    split: str = Field("train", description="the split of a hub data set")
    part: Part = None
    n: Count = Field(
        None, description="prompts to draw, or all; all by default (`plan` then reads the data set to count them)"
    )
    seed: int = Field(0, description="seed of the draw")
    system: str | None = Field(None, description="a system message before each prompt, in sampling and in training")
    maths: float = Field(0.0, ge=0, lt=1, description="of `synthetic` prompts: the share that are mathematics problems")

    @model_validator(mode="after")
    def _maths_is_synthetic(self) -> "Prompts":
        if self.maths and self.source != SYNTHETIC:
            raise ValueError(f"maths has no effect on {self.source}: it mixes problems into synthetic prompts")
        return self


class Sampling(Settings):
    """How models sample completions of the training prompts."""

    max_tokens: int = Field(gt=0, description="the most tokens of a completion; longer ones are truncated")
    temperature: float = Field(1.0, ge=0, le=2, description="0 is greedy")
    top_p: float = Field(1.0, gt=0, le=1, description="nucleus sampling")
    top_k: TopK = 0
    min_p: MinP = 0.0
    seed: int = Field(0, description="seed of the completions")
    thinking: Thinking = Field(None, description=THINKING)

    @model_validator(mode="after")
    def _has_an_effect(self) -> "Sampling":
        check_sampled(self)
        return self


class Problems(Settings):
    """The problems of RL objectives, in the schema of a benchmark. None may be one of its examples."""

    kind: str = Field(description="the benchmark that grades the completions")
    source: Source = Field(description=f"{SOURCE} (problems of the toy models)")
    part: Part = None
    n: int = Field(gt=0, description="problems to draw")
    seed: int = Field(0, description="seed of the draw")
    prompt: str | None = Field(
        None, description="the prompt, with columns of the row in braces; the benchmark's own by default"
    )
    system: str | None = Field(None, description="a system message before each problem")
    max_tokens: int = Field(gt=0, description="the most tokens of a completion")
    thinking: Thinking = Field(None, description=THINKING)

    @field_validator("kind")
    @classmethod
    def _is_graded(cls, kind: str) -> str:
        if kind not in BENCHMARKS:
            raise ValueError(f'completions for "{kind}" cannot be graded; {did_you_mean(kind, BENCHMARKS)}')
        return kind

    @model_validator(mode="after")
    def _has_rows(self) -> "Problems":
        check_synthetic(self.kind, self.source)
        check_prompt(self.kind, self.prompt)
        return self
