"""Data sets with answers of their own, or of plain text. Each may be the teacher of a pair."""

from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, model_validator

from evaluators.benchmarks import BENCHMARKS
from evaluators.rows import is_file
from evaluators.suggest import did_you_mean
from orchestrator.study.prompts import ESCAPE, SYNTHETIC, Part, names_in_braces
from orchestrator.study.settings import Count, Settings, Source


def _grades(kind: str | None) -> str | None:
    if kind is not None and kind not in BENCHMARKS:
        raise ValueError(f'answers cannot be graded by "{kind}"; {did_you_mean(kind, BENCHMARKS)}')
    return kind


class DataSet(Settings):
    """Rows with prompts and answers, or with text. As the teacher of a pair it answers with what it has."""

    HINTS: ClassVar[dict[str, str]] = {
        "column": "unknown key; the column of the prompt is prompt",
        "input_column": "unknown key; use context",
        "conversations": "unknown key; use messages, a column of {role, content}",
        "completion": "unknown key; the column of the answer is answer",
    }
    source: Source = Field(
        description="a JSONL, Parquet or text file (a path relative to the working directory, or a URI of fsspec), or "
        "a data set of the hub"
    )
    config: str | None = Field(None, description="of a hub data set: its configuration")
    split: str = Field("train", description="of a hub data set: its split")
    revision: str | None = Field(
        None,
        description="of a hub data set: branch, tag or commit; by default the commit of its first use in the store",
    )
    messages: str | None = Field(
        None, description="the column with chats, lists of {role, content} that end with the assistant's answer"
    )
    prompt: str | None = Field(None, description="the column with the prompt")
    template: str | None = Field(None, description="the prompt as a text with columns in braces, instead of prompt")
    context: str | None = Field(None, description="a column that is appended to the prompt where it is not empty")
    answer: str | None = Field(None, description="the column with the answer")
    text: str | None = Field(
        None, description="the column with plain text, for objective lm; that of a text file is text"
    )
    chunk_characters: int | None = Field(
        None,
        gt=0,
        description="of text: split it at white space into pieces of at most so many characters, each a training row",
    )
    id: str | None = Field(None, description="the column with an id; by default it is derived from the prompt")
    system: str | None = Field(None, description="a system message before each prompt")
    verified_by: Annotated[str | None, AfterValidator(_grades)] = Field(
        None, description="keep the rows whose answer this benchmark grades as correct, by its own columns in the row"
    )
    part: Part = None
    n: Count = Field(None, description="rows to draw, or all; all by default")
    seed: int = Field(0, description="seed of the draw")

    @model_validator(mode="after")
    def _has_one_form(self) -> "DataSet":
        if self.source == SYNTHETIC:
            raise ValueError("source: there are no synthetic answers: give a file, or a data set of the hub")
        asks = [key for key in ("prompt", "template", "messages", "text") if getattr(self, key) is not None]
        if len(asks) != 1:
            raise ValueError(
                f"give one of messages, text, and prompt (or template) with answer, not {' and '.join(asks) or 'none'}"
            )
        if (asks[0] in ("prompt", "template")) != (self.answer is not None):
            raise ValueError(
                f"answer: {asks[0]} {'needs' if self.answer is None else 'has no use for'} an answer column"
            )
        for key in ("context", "system", "verified_by"):
            if self.text is not None and getattr(self, key) is not None:
                raise ValueError(f"{key} has no effect on text, which has no prompt: leave it out")
        if self.text is None and self.chunk_characters is not None:
            raise ValueError("chunk_characters is for text: leave it out")
        if self.context is not None and self.prompt is None:
            raise ValueError("context has no effect without prompt: name the column in template, or leave it out")
        if self.template is not None and (not self.columns_of_template or "" in self.columns_of_template):
            raise ValueError(f"template: it must name columns in braces; {ESCAPE}")
        if is_file(self.source):
            for key in ("config", "revision", "split"):
                if getattr(self, key) == type(self).model_fields[key].default:
                    continue
                raise ValueError(f"{key} has no effect on a file: leave it out")
        return self

    @property
    def columns_of_template(self) -> set[str]:
        """The columns that the template names."""
        return names_in_braces(self.template) if self.template is not None else set()
