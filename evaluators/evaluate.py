"""One benchmark, asked of one model."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from evaluators.benchmarks import BENCHMARKS
from evaluators.engine import Chat, Decoding, Reply


@dataclass(frozen=True)
class Example:
    """One example as it was asked and answered. `ids` is the answer with the opening that was put in its mouth."""

    id: str
    group: dict
    prompt: str
    prompt_ids: tuple[int, ...]
    opening_ids: tuple[int, ...]
    ids: tuple[int, ...]
    text: str
    correct: bool
    found: bool
    cut_off: bool


# Asks a model: chats, decoding and, for each chat, the token ids that its answer begins with.
Ask = Callable[[list[Chat], Decoding, list[tuple[int, ...]] | None], Sequence[Reply]]


def example_id(kind: str, row: dict) -> str:
    """An id that belongs to the example's content, wherever its row came from."""
    return hashlib.sha256(f"{kind} {json.dumps(row, sort_keys=True)}".encode()).hexdigest()[:16]


def chats_of(kind: str, rows: list[dict], prompt: str | None) -> list[Chat]:
    """What each row is asked with; `prompt` defaults to the benchmark's own. Raises ValueError for unusable rows."""
    benchmark = BENCHMARKS[kind]
    prompt = benchmark.PROMPT if prompt is None else prompt
    try:
        return [[{"role": "user", "content": prompt.format(**benchmark.fields(row))}] for row in rows]
    except KeyError as error:
        raise ValueError(f"{kind}: its prompt names {{{error.args[0]}}}, which the rows do not have") from error
    except (IndexError, AttributeError) as error:
        raise ValueError(
            f"{kind}: its prompt has braces without a column's name; write {{{{ and }}}} for braces"
        ) from error


def evaluate(
    kind: str,
    rows: list[dict],
    ask: Ask,
    decoding: Decoding,
    prompt: str | None = None,
    openings: dict[str, tuple[int, ...]] | None = None,
) -> list[Example]:
    """Ask and grade every row. `openings` gives, by example id, the token ids that the answer is made to begin with."""
    benchmark = BENCHMARKS[kind]
    ids = [example_id(kind, row) for row in rows]
    begin = None if openings is None else [openings[i] for i in ids]
    chats = chats_of(kind, rows, prompt)
    replies = ask(chats, decoding, begin)
    examples = []
    for i, row, chat, reply in zip(ids, rows, chats, replies, strict=True):
        answer = reply.answers[0]
        verdict = benchmark.grade(row, answer.text)
        examples.append(
            Example(
                id=i,
                group=benchmark.group(row),
                prompt=chat[-1]["content"],
                prompt_ids=reply.prompt_ids,
                opening_ids=reply.opening_ids,
                ids=answer.ids,
                text=answer.text,
                correct=verdict.correct,
                found=verdict.found,
                cut_off=answer.cut_off and decoding.max_tokens > 1,  # A single-token answer is always "cut off".
            )
        )
    return examples


def summary(examples: list[Example]) -> dict:
    """The figures beside every score: n, accuracy, share cut off, share without a gradable answer, tokens."""
    n = len(examples)
    return {
        "n": n,
        "accuracy": sum(e.correct for e in examples) / n,
        "cut_off": sum(e.cut_off for e in examples) / n,
        "not_found": sum(not e.found for e in examples) / n,
        "tokens": sum(len(e.ids) - len(e.opening_ids) for e in examples),
        "mean_length": sum(len(e.ids) for e in examples) / n,
    }


def write_examples(path: Path, examples: list[Example]) -> None:
    path.write_text("".join(json.dumps(asdict(example)) + "\n" for example in examples))


def read_examples(path: Path) -> list[Example]:
    return [Example(**json.loads(line)) for line in path.read_text().splitlines()]
