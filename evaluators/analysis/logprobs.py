"""Perplexity of data under a model, and the KL divergence of a trained student from the base student.

Perplexity is exp of the mean negative log-likelihood (NLL) per token. It scores completions by their text, so that
models with different tokenizers can score the same data. KL(student || base) is a Monte Carlo estimate: the mean of
log p_student(y) - log p_base(y) over completions y that the student sampled at temperature 1, by their token ids.
Where the text shows where the final answer begins, both also exist for the tokens before ("reasoning") and from there
on ("answer").
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from evaluators.analysis.statistics import Interval
from evaluators.engines.chat_template import Chat
from evaluators.engines.generations import Generation
from evaluators.engines.requests import Request, TokenLogprobs
from evaluators.engines.thinking import answer_start

ALL, REASONING, ANSWER = "all", "reasoning", "answer"


@dataclass(frozen=True)
class CompletionLogprobs:
    """One completion: the sum of its tokens' log-probabilities in nats and the number of tokens, by part.

    Parts are "all" and, where the final answer is found, "reasoning" and "answer".
    """

    id: str
    logprob: dict[str, float]
    tokens: dict[str, int]

    @classmethod
    def of(cls, id: str, scored: TokenLogprobs) -> Self:
        """Sum an engine's log-probabilities of a completion by part."""
        parts = {ALL: slice(None)}
        if scored.answer_start is not None:
            parts |= {REASONING: slice(scored.answer_start), ANSWER: slice(scored.answer_start, None)}
        logprobs = {name: scored.logprobs[part] for name, part in parts.items()}
        return cls(id, {k: sum(v) for k, v in logprobs.items()}, {k: len(v) for k, v in logprobs.items()})


def requests_by_text(chats: Sequence[Chat]) -> list[Request]:
    """Requests that score the last message of each chat, as text."""
    pairs = [(chat[:-1], chat[-1]["content"]) for chat in chats]
    return [Request(prompt=prompt, prefill=text, answer_start=answer_start(text)) for prompt, text in pairs]


def requests_by_token_ids(generations: Sequence[Generation]) -> list[Request]:
    """Requests that score the sampled token ids of each first completion, without its prefill."""
    requests = []
    for generation in generations:
        completion, prefill = generation.completions[0], generation.prefill_token_ids
        requests.append(
            Request(
                prompt=(*generation.prompt_token_ids, *prefill),
                prefill=completion.token_ids[len(prefill) :],
                answer_start=None if prefill else answer_start(completion.text),
            )
        )
    return requests


def mean_nll(rows: Sequence[CompletionLogprobs], part: str = ALL) -> Interval:
    """The mean NLL per token in nats, with its 95 % interval over completions."""
    sums_A, tokens_A = _of_part(rows, part)
    return _ratio(-sums_A, tokens_A)


def divergence(student: Sequence[CompletionLogprobs], base: Sequence[CompletionLogprobs], part: str = ALL) -> Interval:
    """KL(student || base) in nats per token, over the same completions, with its 95 % interval over prompts.

    The interval is about these trained students; it does not include the variance over training seeds.
    """
    assert [row.id for row in student] == [row.id for row in base], "completions do not pair"
    student_A, tokens_A = _of_part(student, part)
    base_A, _ = _of_part(base, part)
    return _ratio(student_A - base_A, tokens_A)


def pooled(rows_S_A: Sequence[Sequence[CompletionLogprobs]]) -> list[CompletionLogprobs]:
    """The completions of all seeds for one prompt as one row each, since they are correlated."""
    by_id: dict[str, list[CompletionLogprobs]] = defaultdict(list)
    for rows in rows_S_A:
        for row in rows:
            by_id[row.id].append(row)

    def added(each: list[dict]) -> dict:
        return {part: sum(one[part] for one in each if part in one) for part in {part for one in each for part in one}}

    return [
        CompletionLogprobs(id, added([row.logprob for row in rows]), added([row.tokens for row in rows]))
        for id, rows in by_id.items()
    ]


def parts_of(rows: Sequence[CompletionLogprobs]) -> list[str]:
    """The parts that at least one of these completions has."""
    return [part for part in (ALL, REASONING, ANSWER) if any(row.tokens.get(part) for row in rows)]


def _of_part(rows: Sequence[CompletionLogprobs], part: str) -> tuple[np.ndarray, np.ndarray]:
    having = [row for row in rows if row.tokens.get(part)]
    return np.array([row.logprob[part] for row in having]), np.array([row.tokens[part] for row in having], dtype=float)


def _ratio(sums_A: np.ndarray, tokens_A: np.ndarray) -> Interval:
    """The mean per token over completions of different lengths, with the large-sample interval of a ratio of two means
    (Cochran 1977, section 2.11). The completion is the unit of sampling, since its tokens are correlated."""
    value = sums_A.sum() / tokens_A.sum()
    residuals_A = sums_A - value * tokens_A
    n = len(sums_A)
    error = np.sqrt((residuals_A**2).sum() * n / max(n - 1, 1)) / tokens_A.sum()
    return Interval(float(value), float(value - 1.96 * error), float(value + 1.96 * error))


def read_logprobs(path: Path) -> list[CompletionLogprobs]:
    """The rows of a JSONL file."""
    return [CompletionLogprobs(**json.loads(line)) for line in path.read_text().splitlines()]
