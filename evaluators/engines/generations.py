"""Prompts as they were asked and answered: what is kept of every sample, so that it can be graded, and graded again."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evaluators.engines.chat_template import Chat
from evaluators.engines.engine import Completion, RequestOutput, Usage


@dataclass(frozen=True)
class TaskGrade:
    """The task of another harness that an example is of, its score there, and all of its metrics."""

    task: str
    score: float
    metrics: dict[str, float]


@dataclass(frozen=True)
class Generation:
    """One prompt with a model's answers to it.

    `prefill_ids` is what every answer was made to begin with; `prompt_opens_think_block` tells that the prompt ends within a block of
    reasoning; `own` is the grade that a harness gave an example of its own.
    """

    id: str
    prompt: Chat
    prompt_ids: tuple[int, ...]
    prefill_ids: tuple[int, ...]
    completions: tuple[Completion, ...]
    prompt_opens_think_block: bool = False
    own: TaskGrade | None = None


def asked(id: str, prompt: Chat, reply: RequestOutput) -> Generation:
    return Generation(
        id, prompt, reply.prompt_ids, reply.prefill_ids, reply.completions, reply.prompt_opens_think_block
    )


def content_ids(contents: Iterable[Any]) -> list[str]:
    """An id for each of these JSON values that belongs to its content, wherever it came from; repeated ones differ."""
    seen: Counter[str] = Counter()
    ids = []
    for content in contents:
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
        seen[digest] += 1
        ids.append(digest if seen[digest] == 1 else f"{digest}-{seen[digest]}")
    return ids


def to_jsonl(examples: Iterable[Any]) -> str:
    """Dataclasses as JSON lines."""
    return "".join(json.dumps(asdict(example)) + "\n" for example in examples)


def from_jsonl(text: str) -> list[Generation]:
    return [_asked(json.loads(line)) for line in text.splitlines()]


def read_generations(path: Path) -> list[Generation]:
    return from_jsonl(path.read_text())


def _asked(row: dict) -> Generation:
    ids = {key: tuple(row[key]) for key in ("prompt_ids", "prefill_ids")}
    own = None if row["own"] is None else TaskGrade(**row["own"])
    return Generation(
        **{**row, **ids, "completions": tuple(_answer(answer) for answer in row["completions"]), "own": own}
    )


def _answer(row: dict) -> Completion:
    usage = Usage(**row["usage"]) if row.get("usage") else None
    tuples = {key: tuple(row[key]) for key in ("ids", "option_logprobs")}
    return Completion(**{**row, **tuples, "usage": usage})
