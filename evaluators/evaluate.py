"""Builds the prompts of a benchmark from its rows, and grades the generations."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median, quantiles
from typing import Any

from evaluators.benchmarks import BENCHMARKS
from evaluators.engines.chat_template import Chat
from evaluators.engines.generations import Generation, content_ids, failed, sampled_tokens
from evaluators.engines.requests import Completion
from evaluators.engines.thinking import strip_reasoning
from evaluators.grading.aggregate import BY_CHANCE, group_means, pass_at, score
from evaluators.grading.verdict import UnreadableGold, Verdict

GRADERS = 4  # threads; symbolic comparisons run in worker processes


@dataclass(frozen=True, kw_only=True)
class Graded:
    """The verdicts on the completions of one example, their score, and the groups that the example belongs to."""

    id: str
    group: dict[str, str | int]
    score: float
    verdicts: tuple[Verdict, ...]


def example_ids(kind: str, rows: list[dict]) -> list[str]:
    """The ids of a benchmark's rows, derived from their content."""
    return content_ids([kind, row] for row in rows)


def chats_of(kind: str, rows: list[dict], prompt: str | None, system: str | None = None) -> list[Chat]:
    """The chat of each row. `prompt` is a format string, by default the benchmark's own.

    Raises ValueError where the prompt does not fit the rows.
    """
    benchmark = BENCHMARKS.module(kind)
    prompt = benchmark.PROMPT if prompt is None else prompt
    system_messages = [{"role": "system", "content": system}] if system else []
    try:
        texts = [prompt.format(**benchmark.fields(row)) for row in rows]
    except KeyError as error:
        raise ValueError(f"{kind}: its prompt names {{{error.args[0]}}}, which the rows do not have") from error
    except (IndexError, AttributeError) as error:
        raise ValueError(
            f"{kind}: its prompt has braces without a column's name; write {{{{ and }}}} for braces"
        ) from error
    return [[*system_messages, {"role": "user", "content": text}] for text in texts]


def check_rows(kind: str, rows: Sequence[dict], skip_unreadable: bool = False) -> dict[int, str]:
    """Raise ValueError for a row that the benchmark cannot grade.

    With `skip_unreadable` rows whose gold answer cannot be read are allowed, except all of them. Returns the places of
    these rows, each with the message that names it.
    """
    benchmark = BENCHMARKS.module(kind)
    unreadable: dict[int, str] = {}
    for place, row in enumerate(rows):
        try:
            benchmark.check(row)
            benchmark.fields(row)
            benchmark.group(row)
        except UnreadableGold as error:
            unreadable[place] = str(error)
        except (TypeError, AttributeError, LookupError, OverflowError) as error:
            raise ValueError(
                f"row {place + 1}: a column has a value of another type than {kind} has: {error}"
            ) from error
    if unreadable and not (skip_unreadable and len(unreadable) < len(rows)):
        first = next(iter(unreadable.values()))
        raise UnreadableGold(f"{first} ({len(unreadable)} of {len(rows)} rows have such a gold answer)")
    return unreadable


def grade(kind: str, rows: list[dict], generations: list[Generation], aggregation: str = "mean") -> list[Graded]:
    """Grade the completions of each row; `aggregation` combines several into one score (see grading/aggregate.py).

    By chance, each is graded against the row after its own. A completion that failed is wrong, with its reason as the
    note.
    """
    benchmark = BENCHMARKS.module(kind)
    for generation, id in zip(generations, example_ids(kind, rows), strict=True):
        assert generation.id == id, f"generations do not match the rows: {generation.id} instead of {id}"
    graded_against = [*rows[1:], *rows[:1]] if aggregation.endswith(BY_CHANCE) else rows
    texts = [
        (row, c.text if c.option_logprobs else strip_reasoning(c.text, generation.prompt_opens_think_block))
        for row, generation in zip(graded_against, generations, strict=True)
        for c in generation.completions
    ]
    with ThreadPoolExecutor(GRADERS) as graders:
        verdicts = iter(list(graders.map(lambda text: benchmark.grade(*text), texts)))
    graded = []
    for row, generation in zip(rows, generations, strict=True):
        own = tuple(_counted(next(verdicts), completion) for completion in generation.completions)
        graded.append(Graded(id=generation.id, group=benchmark.group(row), score=score(own, aggregation), verdicts=own))
    return graded


def _counted(verdict: Verdict, completion: Completion) -> Verdict:
    """The verdict on a completion; one that failed follows no instruction, even one that an empty text follows."""
    if completion.error is None:
        return verdict
    parts = {name: [False] * len(each) for name, each in verdict.parts.items()}
    return Verdict(score=0.0, parsed=False, note=f"there is no completion: {completion.error}", parts=parts)


def graded_by_lm_eval(generations: list[Generation]) -> list[Graded]:
    """The grades that lm-eval gave to the examples of its own tasks."""
    graded = []
    for generation in generations:
        grade = generation.lm_eval
        assert grade is not None
        # One verdict for each example: lm-eval defines how several completions make a score.
        verdict = Verdict(score=grade.score, parsed=True)
        graded.append(Graded(id=generation.id, group={"task": grade.task}, score=grade.score, verdicts=(verdict,)))
    return graded


def summary(generations: Sequence[Generation], graded: Sequence[Graded]) -> dict:
    """Statistics of a graded benchmark.

    `accuracy` is the mean of the examples' scores; `truncated` and `unparsed` are shares of the completions.
    `grading_failed` is a number of completions; so is `failed`, those that have an error, where there are any. Lengths
    are in tokens and include prefills; `tokens` is the number of sampled tokens. Several samples add `mean`, over all
    completions, and `pass`, which maps k to pass@k.
    """
    n = len(graded)
    completions = [completion for generation in generations for completion in generation.completions]
    verdicts = [verdict for example in graded for verdict in example.verdicts]
    lengths = [completion.length for completion in completions if completion.error is None] or [0]
    missing = len(failed(generations))
    facts: dict[str, Any] = {
        "n": n,
        "samples": len(completions) / n,
        "accuracy": fmean(example.score for example in graded),
        "truncated": fmean(completion.truncated for completion in completions),
        "unparsed": fmean(not verdict.parsed for verdict in verdicts),
        "grading_failed": sum(bool(verdict.note) for verdict in verdicts) - missing,
        "tokens": sampled_tokens(generations),
        "mean_length": fmean(lengths),
        "median_length": median(lengths),
        "p95_length": quantiles(lengths, n=20, method="inclusive")[-1] if len(lengths) > 1 else lengths[0],
        "groups": group_means((example.group, example.score) for example in graded),
    }
    if missing:
        facts["failed"] = missing
    samples = len(graded[0].verdicts)
    if samples > 1:
        ks = [2**i for i in range(samples.bit_length()) if 2**i <= samples]
        correct = [sum(verdict.correct for verdict in example.verdicts) for example in graded]
        facts["pass"] = {str(k): fmean(pass_at(k, samples, c) for c in correct) for k in ks}
        facts["mean"] = fmean(verdict.score for verdict in verdicts)
    return facts


def read_graded(path: Path) -> list[Graded]:
    """The grades that `to_jsonl` wrote."""
    rows = (json.loads(line) for line in path.read_text().splitlines())
    return [Graded(**{**row, "verdicts": tuple(Verdict(**verdict) for verdict in row["verdicts"])}) for row in rows]
