"""Perplexity of data under a model, and the KL divergence of a trained student from the base student.

Perplexity is exp of the mean negative log-likelihood (NLL) per token. It scores completions by their text, so that
models with different tokenizers can score the same data. KL(student || base) is a Monte Carlo estimate: the mean of
log p_student(y) - log p_base(y) over completions y that the student sampled at temperature 1, by their token ids.
Where the text shows where the final answer begins, both also exist for the tokens before ("reasoning") and from there
on ("answer").
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from evaluators.analysis.values import ALL, Ratios
from evaluators.engines.chat_template import Chat
from evaluators.engines.generations import Generation
from evaluators.engines.requests import Request, TokenLogprobs
from evaluators.engines.thinking import answer_start

REASONING, ANSWER = "reasoning", "answer"


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


def nll(rows: Sequence[CompletionLogprobs]) -> Ratios:
    """The NLL of each completion in nats, by part."""
    sums = [{part: -logprob for part, logprob in row.logprob.items()} for row in rows]
    return Ratios(ids=[row.id for row in rows], sums=sums, tokens=[row.tokens for row in rows])
