"""A benchmark's rows as what a model is asked, and its answers as grades."""

import json
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median, quantiles
from typing import Any

from evaluators.benchmarks import BENCHMARKS
from evaluators.engines.chat_template import Chat
from evaluators.engines.generations import Generation, content_ids, to_jsonl
from evaluators.engines.thinking import strip_reasoning
from evaluators.grading.aggregate import pass_at, score
from evaluators.grading.verdict import Verdict

GRADERS = 4  # answers graded at once; those that need symbolic algebra wait for processes of their own


@dataclass(frozen=True)
class Graded:
    """The verdicts on the answers to one example, its score, and the parts of the benchmark that it belongs to."""

    id: str
    group: dict[str, str | int]
    score: float
    verdicts: tuple[Verdict, ...]


def example_ids(kind: str, rows: list[dict]) -> list[str]:
    """Ids that belong to the examples' content."""
    return content_ids([kind, row] for row in rows)


def chats_of(kind: str, rows: list[dict], prompt: str | None, system: str | None = None) -> list[Chat]:
    """What each row is asked with; `prompt` defaults to the benchmark's own. Raises ValueError for unusable rows."""
    benchmark = BENCHMARKS.module(kind)
    prompt = benchmark.PROMPT if prompt is None else prompt
    begin = [{"role": "system", "content": system}] if system else []
    try:
        texts = [prompt.format(**benchmark.fields(row)) for row in rows]
    except KeyError as error:
        raise ValueError(f"{kind}: its prompt names {{{error.args[0]}}}, which the rows do not have") from error
    except (IndexError, AttributeError) as error:
        raise ValueError(
            f"{kind}: its prompt has braces without a column's name; write {{{{ and }}}} for braces"
        ) from error
    return [[*begin, {"role": "user", "content": text}] for text in texts]


def grade(kind: str, rows: list[dict], answered: list[Generation], way: str = "mean") -> list[Graded]:
    """Grade the answers to each row; `way` makes one score of several answers (see score.py)."""
    benchmark = BENCHMARKS.module(kind)
    for one, expected in zip(answered, example_ids(kind, rows), strict=True):
        assert one.id == expected, f"the answers to {one.id} stand where those to {expected} should"
    pairs = zip(rows, answered, strict=True)
    texts = [
        (row, answer.text if answer.option_logprobs else strip_reasoning(answer.text, one.prompt_opens_think_block))
        for row, one in pairs
        for answer in one.completions
    ]
    with ThreadPoolExecutor(GRADERS) as graders:
        verdicts = iter(list(graders.map(lambda pair: benchmark.grade(*pair), texts)))
    graded = []
    for row, one in zip(rows, answered, strict=True):
        own = tuple(next(verdicts) for _ in one.completions)
        graded.append(Graded(id=one.id, group=benchmark.group(row), score=score(own, way), verdicts=own))
    return graded


def graded_by_lm_eval(answered: list[Generation]) -> list[Graded]:
    """The grades that a harness gave the answers to its own tasks."""
    graded = []
    for one in answered:
        assert one.lm_eval is not None
        score = one.lm_eval.score  # of the example: how a task makes it of several answers is its own affair
        graded.append(
            Graded(
                id=one.id, group={"task": one.lm_eval.task}, score=score, verdicts=(Verdict(score=score, parsed=True),)
            )
        )
    return graded


def summary(answered: Sequence[Generation], graded: Sequence[Graded]) -> dict:
    """The figures beside every score: n, samples, accuracy, shares cut off and without a gradable answer, lengths.

    `accuracy` is the mean of the examples' scores. Lengths are in tokens, with what the answer was made to begin with;
    `tokens` counts what was sampled. `grading_failed` counts failed gradings. With several samples there
    is `pass`, by k.
    """
    n = len(graded)
    answers = [answer for one in answered for answer in one.completions]
    verdicts = [verdict for one in graded for verdict in one.verdicts]
    lengths = [answer.length for answer in answers]
    facts: dict[str, Any] = {
        "n": n,
        "samples": len(answers) / n,
        "accuracy": fmean(one.score for one in graded),
        "truncated": fmean(answer.truncated for answer in answers),
        "unparsed": fmean(not verdict.parsed for verdict in verdicts),
        "grading_failed": sum(bool(verdict.note) for verdict in verdicts),
        "tokens": sum(a.length - len(one.prefill_token_ids) for one in answered for a in one.completions),
        "mean_length": fmean(lengths),
        "median_length": median(lengths),
        "p95_length": quantiles(lengths, n=20, method="inclusive")[-1] if len(lengths) > 1 else lengths[0],
        "groups": by_group(graded),
    }
    samples = len(graded[0].verdicts)
    if samples > 1:
        ks = [2**i for i in range(samples.bit_length()) if 2**i <= samples]
        right = [sum(verdict.correct for verdict in one.verdicts) for one in graded]
        facts["pass"] = {str(k): fmean(pass_at(k, samples, c) for c in right) for k in ks}
        facts["mean"] = fmean(verdict.score for verdict in verdicts)
    return facts


def by_group(graded: Sequence[Graded]) -> dict[str, dict[str, float]]:
    """Accuracy by each part of the benchmark: {"level": {"1": 0.9, ...}}."""
    scores: dict[str, dict[str | int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for one in graded:
        for name, value in one.group.items():
            scores[name][value].append(one.score)
    return {name: {str(v): fmean(s) for v, s in sorted(parts.items())} for name, parts in scores.items()}


def write_graded(path: Path, graded: list[Graded]) -> None:
    path.write_text(to_jsonl(graded))


def read_graded(path: Path) -> list[Graded]:
    rows = (json.loads(line) for line in path.read_text().splitlines())
    return [Graded(**{**row, "verdicts": tuple(Verdict(**verdict) for verdict in row["verdicts"])}) for row in rows]
