"""The stage `dataset`: answers that were recorded elsewhere, or text, in the form in which a sample stores completions.

So they can be used wherever completions of a teacher are.
"""

import textwrap
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

from evaluators.benchmarks import BENCHMARKS
from evaluators.engines.chat_template import Chat
from evaluators.engines.generations import Generation, content_ids, to_jsonl
from evaluators.engines.requests import Completion
from evaluators.engines.thinking import strip_reasoning
from evaluators.evaluate import GRADERS, check_rows
from evaluators.rows import check_columns, choose, in_part
from orchestrator.stages import data
from orchestrator.stages.evaluate import grader_version
from orchestrator.stages.sample import GENERATIONS
from orchestrator.store.context import StageContext
from orchestrator.store.stage import Runtime, Stage
from orchestrator.store.store import Store
from orchestrator.study.data import DataSet

VERSION = 1
Answered = tuple[dict, Chat]  # a row, and its chat with the answer
ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True, kw_only=True)
class DatasetSettings:
    """`source` identifies the content of a data set, and `columns` has the fields of its declaration that are set.
    `grader` has the versions of the code that verifies answers."""

    source: str
    columns: Mapping[str, Any]
    grader: Mapping[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class DatasetRuntime(Runtime):
    """`location` is where the data set is; `name` is that of the study."""

    location: str
    name: str


def stage(name: str, declared: DataSet) -> Stage:
    """A data set of the study. Raises ValueError for a missing file."""
    settings = DatasetSettings(
        source=data.identity(declared.source),
        columns=declared.model_dump(exclude={"source"}, exclude_defaults=True),
        grader=grader_version(declared.verified_by) if declared.verified_by else None,
    )
    return Stage("dataset", VERSION, name, settings, runtime=DatasetRuntime(location=declared.source, name=name))


def is_text(stage: Stage) -> bool:
    """Whether a stage is a data set of plain text, without prompts."""
    return stage.kind == "dataset" and "text" in stage.settings.columns


@cache
def most_rows(stage: Stage) -> int:
    """The rows of a data set, before answers are verified. Raises ValueError for one that cannot be read."""
    declared = _declared(stage).model_copy(update={"verified_by": None})
    if declared.n is not None:
        return declared.n
    try:
        return len(read(declared)[0])
    except OSError as error:
        raise ValueError(f"n: give a number, since {declared.source} cannot be read to count it ({error})") from error


def _declared(stage: Stage) -> DataSet:
    return DataSet(source=stage.runtime.location, **stage.settings.columns)


def run(context: StageContext) -> dict[str, Any]:
    settings: DatasetSettings = context.stage.settings
    generations, facts = read(_declared(context.stage), settings.source, context.store)
    (context.out / GENERATIONS).write_text(to_jsonl(generations))
    return {"n": len(generations), **facts}


def read(declared: DataSet, source: str | None = None, store: Store | None = None) -> tuple[list[Generation], dict]:
    """The rows of a data set as prompts with one completion each, and facts: rows left out, by reason.

    A hub data set is read at its revision, or the commit that the store has pinned. Raises ValueError for a missing
    column, a value of another type, too few rows, and a file that is not the one that was planned (`source`).
    """
    where = declared.source
    rows = data.read_source(source, where, declared.config, declared.split, store, declared.revision)
    check_columns(rows, _columns(declared), where)
    if declared.text is not None and declared.chunk_characters is not None:
        pieces = (piece for row in rows for piece in chunks(row[declared.text], declared.chunk_characters))
        rows = [{declared.text: piece} for piece in pieces]
    usable, left_out = _usable(declared, [(row, _chat(declared, row, number)) for number, row in enumerate(rows, 1)])
    if not usable or (declared.n or 0) > len(usable):
        reasons = ", ".join(f"{n} {why}" for why, n in left_out.items())
        raise ValueError(
            f"n: {declared.n or 'all'} rows are asked for, but {where} has {len(usable)}"
            f"{f' (left out: {reasons})' if reasons else ''}"
        )
    drawn = choose(usable, declared.n, declared.seed)
    if declared.id is not None:
        ids = [str(row[declared.id]) for row, _ in drawn]
    else:  # Those of samples of the same prompts
        ids = content_ids(chat[:-1] or chat for _, chat in drawn)
    if len(set(ids)) < len(ids):
        raise ValueError(f"id: {where} has rows with the same {declared.id}: leave id out, or mend the rows")
    generations = [
        Generation(id=id, prompt=chat[:-1], completions=(Completion(text=chat[-1]["content"], truncated=False),))
        for id, (_, chat) in zip(ids, drawn, strict=True)
    ]
    return generations, {"left_out": left_out}


def _usable(declared: DataSet, rows: list[Answered]) -> tuple[list[Answered], dict[str, int]]:
    """The rows of the part with an answer, a correct one where it is verified; and how many are left out, by reason."""
    of_part = [(row, chat) for row, chat in rows if in_part(_asked(chat), declared.part)]
    answered = [(row, chat) for row, chat in of_part if chat[-1]["content"].strip()]
    correct = answered if declared.verified_by is None else _verified(declared.verified_by, answered)
    left_out = {
        "of other parts": len(rows) - len(of_part),
        "without an answer": len(of_part) - len(answered),
        "with a wrong answer": len(answered) - len(correct),
    }
    return correct, {why: n for why, n in left_out.items() if n}


def chunks(text: str, longest: int) -> Iterator[str]:
    """A text in pieces of at most `longest` characters, split at white space where there is any."""
    return iter(textwrap.wrap(text, longest, replace_whitespace=False, drop_whitespace=True, break_on_hyphens=False))


def _columns(declared: DataSet) -> dict[str, Any]:
    """The types of the columns that must be there."""
    found: dict[str, Any] = {each: str for each in (declared.prompt, declared.text, declared.answer) if each}
    found |= {each: Any for each in (declared.context, declared.id) if each}
    found |= dict.fromkeys(declared.columns_of_template, Any)
    if declared.messages is not None:
        found[declared.messages] = list[dict[str, Any]]
    return found | (BENCHMARKS.module(declared.verified_by).COLUMNS if declared.verified_by else {})


def _chat(declared: DataSet, row: dict, number: int) -> Chat:
    """The prompt and the answer of a row, which is the last message; of text, the answer alone."""
    if declared.text is not None:
        return [{"role": "assistant", "content": row[declared.text]}]
    system = [{"role": "system", "content": declared.system}] if declared.system else []
    if declared.messages is not None:
        return [*system, *_messages(row[declared.messages], f"{declared.source}, row {number}: {declared.messages}")]
    text = declared.template.format(**row) if declared.template is not None else row[declared.prompt]
    if not text.strip():
        raise ValueError(f"{declared.source}, row {number}: the prompt is empty")
    extra = row[declared.context] if declared.context else ""
    prompt = f"{text}\n\n{extra}" if extra else text
    return [*system, {"role": "user", "content": prompt}, {"role": "assistant", "content": row[declared.answer]}]


def _messages(messages: list[dict], where: str) -> Chat:
    chat = []
    for one in messages:
        role, content = one.get("role"), one.get("content")
        if role not in ROLES or not isinstance(content, str):
            raise ValueError(f"{where}: a message is {{role: {', '.join(ROLES)}, content: a text}}, not {one!r:.200}")
        chat.append({"role": role, "content": content})
    if len(chat) < 2 or chat[-1]["role"] != "assistant":
        raise ValueError(f"{where}: the chat must end with an answer of the assistant")
    return chat


def _asked(chat: Chat) -> str:
    """The text by which a row belongs to a part: the user's first message, or the text."""
    return next((one["content"] for one in chat if one["role"] == "user"), chat[-1]["content"])


def _verified(kind: str, pairs: list[Answered]) -> list[Answered]:
    """The rows whose answer, without its reasoning, is correct by the benchmark's grader."""
    check_rows(kind, [row for row, _ in pairs])
    grade = BENCHMARKS.module(kind).grade
    with ThreadPoolExecutor(GRADERS) as graders:
        verdicts = graders.map(lambda pair: grade(pair[0], strip_reasoning(pair[1][-1]["content"], False)), pairs)
        return [pair for pair, verdict in zip(pairs, verdicts, strict=True) if verdict.correct]
