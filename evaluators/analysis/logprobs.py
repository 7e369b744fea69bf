"""How likely a model finds given answers: the perplexity of data, and how far a model has gone from another.

Perplexity is exp of the mean negative log-likelihood of a token, and takes the answers' text, so that models of
different tokenizers can be asked about the same data. KL(student || original) is estimated by Monte Carlo: the mean of
log p_student(y) - log p_original(y) over answers y that the student has drawn at temperature 1, by their token ids.
Both also by class of token: up to the final answer ("reasoning") and from there on ("answer"), where the text shows
where that is.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluators.analysis.statistics import Interval
from evaluators.engines.chat_template import Chat
from evaluators.engines.generations import Generation
from evaluators.engines.requests import Request, TokenLogprobs
from evaluators.engines.thinking import answer_start

ALL, REASONING, ANSWER = "all", "reasoning", "answer"


@dataclass(frozen=True)
class CompletionLogprobs:
    """Of one answer: the sum of its tokens' log-probabilities in nats, and their number, by class of token."""

    id: str
    logprob: dict[str, float]
    tokens: dict[str, int]


def by_text(chats: Sequence[Chat]) -> list[Request]:
    """What to ask an engine's `likelihood`: the answer in which each chat ends, by its text."""
    said = [(chat[:-1], chat[-1]["content"]) for chat in chats]
    return [Request(prompt=prompt, prefill=answer, answer_start=answer_start(answer)) for prompt, answer in said]


def by_ids(answered: Sequence[Generation]) -> list[Request]:
    """The same of the first answer to each prompt, by the token ids that were drawn (what an answer was made to begin
    with is no part of those)."""
    requests = []
    for one in answered:
        answer, begun = one.completions[0], one.prefill_token_ids
        final = None if begun else answer_start(answer.text)
        requests.append(
            Request(prompt=(*one.prompt_token_ids, *begun), prefill=answer.token_ids[len(begun) :], answer_start=final)
        )
    return requests


def scored(id: str, found: TokenLogprobs) -> CompletionLogprobs:
    """An engine's likelihood of an answer, summed by class."""
    parts = {ALL: slice(None)}
    if found.answer_start is not None:
        parts |= {REASONING: slice(found.answer_start), ANSWER: slice(found.answer_start, None)}
    logprobs = {name: found.logprobs[part] for name, part in parts.items()}
    return CompletionLogprobs(id, {k: sum(v) for k, v in logprobs.items()}, {k: len(v) for k, v in logprobs.items()})


def mean_nll(rows: Sequence[CompletionLogprobs], part: str = ALL) -> Interval:
    """The mean negative log-likelihood of a token in nats, with its interval over answers."""
    sums, tokens = _of(rows, part)
    return _ratio(-sums, tokens)


def divergence(
    student: Sequence[CompletionLogprobs], original: Sequence[CompletionLogprobs], part: str = ALL
) -> Interval:
    """KL(student || original) a token in nats, over the same answers of the student, with its interval over prompts.

    It is the interval of these students: that others, trained with other seeds, may differ is not in it.
    """
    assert [row.id for row in student] == [row.id for row in original], "answers do not pair"
    ours, tokens = _of(student, part)
    theirs, _ = _of(original, part)
    return _ratio(ours - theirs, tokens)


def pooled(rows_S_A: Sequence[Sequence[CompletionLogprobs]]) -> list[CompletionLogprobs]:
    """The answers that several seeds gave to each prompt as one, for they stand and fall together."""
    by_id: dict[str, list[CompletionLogprobs]] = defaultdict(list)
    for rows in rows_S_A:
        for row in rows:
            by_id[row.id].append(row)

    def added(each: list[dict]) -> dict:
        return {part: sum(one[part] for one in each if part in one) for part in {part for one in each for part in one}}

    return [
        CompletionLogprobs(id, added([r.logprob for r in all]), added([r.tokens for r in all]))
        for id, all in by_id.items()
    ]


def parts_of(rows: Sequence[CompletionLogprobs]) -> list[str]:
    """The classes of tokens that these answers have."""
    return [part for part in (ALL, REASONING, ANSWER) if any(row.tokens.get(part) for row in rows)]


def _of(rows: Sequence[CompletionLogprobs], part: str) -> tuple[np.ndarray, np.ndarray]:
    kept = [row for row in rows if row.tokens.get(part)]
    return np.array([row.logprob[part] for row in kept]), np.array([row.tokens[part] for row in kept], dtype=float)


def _ratio(sums_A: np.ndarray, tokens_A: np.ndarray) -> Interval:
    """The mean of a token over answers of different length, with the large-sample interval of a ratio of two means
    (Cochran 1977, section 2.11), in which an answer's tokens stand and fall together."""
    value = sums_A.sum() / tokens_A.sum()
    spread = sums_A - value * tokens_A
    n = len(sums_A)
    error = np.sqrt((spread**2).sum() * n / max(n - 1, 1)) / tokens_A.sum()
    return Interval(float(value), float(value - 1.96 * error), float(value + 1.96 * error))


def read_logprobs(path: Path) -> list[CompletionLogprobs]:
    return [CompletionLogprobs(**json.loads(line)) for line in path.read_text().splitlines()]
