"""Requests to a model and its outputs; the vLLM engine and the API client share them."""

from dataclasses import dataclass, field
from typing import Self

from evaluators.engines.chat_template import Chat, Thinking
from evaluators.identity import ADDED


@dataclass(frozen=True, kw_only=True)
class Request:
    """One prompt, as a chat or as token ids, with the text or token ids that its completions must begin with.

    `number` seeds the request's samples, so that a request that is repeated with its number has the same samples.
    `answer_start` is for `score`: the character of the prefill at which the final answer begins.
    """

    prompt: Chat | tuple[int, ...]
    prefill: str | tuple[int, ...] = ()
    number: int = 0
    answer_start: int | None = None


@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """How to sample, with vLLM's names. Temperature 0 is greedy; `top_k` 0 and `min_p` 0 leave out no token.

    With `options`, each a single token, the completion is the option with the highest log-probability.
    """

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    n: int = 1
    seed: int = 0
    stop: tuple[str, ...] = ()
    thinking: Thinking | None = None
    options: tuple[str, ...] = ()
    top_k: int = field(default=0, metadata=ADDED)
    min_p: float = field(default=0.0, metadata=ADDED)

    def seed_of(self, request: Request, sample: int = 0) -> int | None:
        """The seed of one sample of a request; None for greedy decoding, which uses none."""
        return self.seed * 1_000_003 + request.number * self.n + sample if self.temperature > 0 else None


@dataclass(frozen=True, kw_only=True)
class Usage:
    """The model name and the token counts that an API reports for one completion."""

    model: str
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, kw_only=True)
class Completion:
    """One sampled output. `token_ids` and `text` include the prefill.

    `truncated`: it reached `max_tokens`. `ends_with_stop_token`: the last token id is the one that ended it.
    `option_logprobs`: the log-probability of each option. `usage` replaces the token ids, which an API does not return.
    `error`: why there is no completion, such as an API's content filter; `text` is then empty.
    """

    text: str
    truncated: bool
    token_ids: tuple[int, ...] = ()
    ends_with_stop_token: bool = False
    option_logprobs: tuple[float, ...] = ()
    usage: Usage | None = None
    error: str | None = None

    @property
    def length(self) -> int:
        """In tokens, with the prefill."""
        return len(self.token_ids) if self.usage is None else self.usage.completion_tokens


@dataclass(frozen=True, kw_only=True)
class RequestOutput:
    """The completions of one request, and the token ids of its prompt and prefill, which an API does not return.

    `prompt_opens_think_block`: the prompt ends inside a `<think>` block, as some chat templates write it.
    `template_digest` identifies the chat template. `ask_again`: a completion failed at no cost or for a passing reason,
    so that a later run should ask again.
    """

    completions: tuple[Completion, ...]
    prompt_token_ids: tuple[int, ...] = ()
    prefill_token_ids: tuple[int, ...] = ()
    prompt_opens_think_block: bool = False
    template_digest: str = ""
    ask_again: bool = False

    @property
    def error(self) -> str | None:
        """Why a completion failed; None if none did."""
        return next((one.error for one in self.completions if one.error is not None), None)

    def answered(self) -> Self:
        """This output, for callers that need every completion. Raises RuntimeError if one failed."""
        if self.error is not None:
            raise RuntimeError(f"a request failed: {self.error}")
        return self


@dataclass(frozen=True, kw_only=True)
class TokenLogprobs:
    """For each token of a request's prefill: its log-probability in nats, and whether it was the most likely token.

    A prefill beyond the model's context is cut to what fits. `answer_start` is the index of the final answer's first
    token, None where the request has no `answer_start`.
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    greedy: tuple[bool, ...]
    answer_start: int | None
