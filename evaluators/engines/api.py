"""Models behind an OpenAI-compatible API, with the same `generate` as an engine.

An API returns no token ids and no log-probabilities here: completions have empty `token_ids`, and their length is the
API's count, which includes hidden reasoning where the API bills it. A separate reasoning field is not stored. The key
is read from the environment of the calling process and never leaves that process. `top_k` and `min_p` are no parameters
of OpenAI's API, so they are sent only where `extra` has them.

Three kinds of failure are told apart. What concerns one prompt (a content filter, a prompt that is too long) becomes
the `error` of its completion. What may pass (rate limits, server errors, lost connections, malformed replies) is
retried for PATIENCE seconds before it becomes one. What concerns every request (the key, the model's name) ends the
batch.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Any, Literal

from evaluators.engines.backoff import wait_before_retry
from evaluators.engines.requests import Completion, Request, RequestOutput, SamplingParams, Usage
from evaluators.imports import IMPORTS

OPENAI = "https://api.openai.com/v1"
KEY, OPENAI_KEY = "OFFMODEL_API_KEY", "OPENAI_API_KEY"
NO_KEY = "none"  # what the client sends to an API that needs no key
PATIENCE = 600.0  # seconds of retries after a request's first failure: longer than rate limits and most outages last
GIVEN_UP_IN_A_ROW = 20  # requests after which no more are sent: the API is away, whatever is asked
REFUSED = (400, 413, 422, 451)  # status codes that concern the prompt
MAY_PASS = (408, 409, 425, 429)  # status codes that are retried, beside all from 500
REASON_LENGTH = 300  # characters of an error that are kept: some APIs repeat the prompt in it


@dataclass(frozen=True)
class APIModel:
    """A model's name at an API, and how to call it. `max_tokens_field` is the request field that limits the tokens.

    `extra` is added to every request; a value of None removes that field. A request that receives no data for `timeout`
    seconds is repeated. `max_cost`: the most US dollars that a run spends on it.
    """

    model: str
    base_url: str
    key_env: str | None
    concurrency: int
    max_tokens_field: str
    extra: Mapping[str, Any]
    timeout: float = 600.0
    max_cost: float | None = None


Outcome = Literal["answered", "refused", "given up"]


class MalformedReply(ValueError):
    """A reply with a good status that has no completion."""


def key_of(api_model: APIModel) -> str:
    """The key from the environment. Raises ValueError where it is not set and the API needs one."""
    # OpenAI's key is for OpenAI alone: another address gets it only where a study names it.
    names = [api_model.key_env] if api_model.key_env else [KEY] + ([OPENAI_KEY] if api_model.base_url == OPENAI else [])
    key = next((os.environ[name] for name in names if os.environ.get(name)), None)
    if key is None and (api_model.key_env or api_model.base_url == OPENAI):
        raise ValueError(
            f"no key for {api_model.model} at {api_model.base_url}: set {' or '.join(names)} in the environment"
        )
    return key or NO_KEY


@dataclass(kw_only=True)
class Account:
    """What is spent on a model, in US dollars. `input` and `output` are the prices of a million tokens.

    Once `most` is spent, no new call starts. Calls under way are still paid. `on_spend` is told each amount.
    """

    input: float = 0.0
    output: float = 0.0
    most: float | None = None
    spent: float = 0.0
    on_spend: Callable[[float], object] = lambda _: None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, usage: Usage) -> None:
        dollars = (usage.prompt_tokens * self.input + usage.completion_tokens * self.output) / 1e6
        with self._lock:
            self.spent += dollars
        if dollars:
            self.on_spend(dollars)

    @property
    def empty(self) -> bool:
        return self.most is not None and self.spent >= self.most


@dataclass(frozen=True, kw_only=True)
class _Caller:
    """One client for all requests of a batch. `ended`: the batch has ended, so that nothing is worth a retry."""

    client: Any
    api_model: APIModel
    key: str
    account: Account
    ended: threading.Event
    clock: Callable[[], float]
    sleep: Callable[[float], object]

    def complete(self, request: Request, sampling_params: SamplingParams, sample: int) -> tuple[Completion, Outcome]:
        """One completion, or the reason why there is none. Raises what concerns every request."""
        with IMPORTS:
            from openai import APIConnectionError, APIStatusError

        first, failures = None, 0
        failure: Exception
        headers: Mapping[str, str]
        while True:
            if self.account.empty:
                spent = f"{self.account.spent:.2f} US dollars are spent, and max_cost allows {self.account.most:.2f}"
                return self.failed(f"not sent, since {spent}"), "given up"
            try:
                completion = _complete(self.client, self.api_model, request, sampling_params, sample)
                if completion.usage is not None:
                    self.account.add(completion.usage)
                return completion, "answered"
            except APIStatusError as error:
                if error.status_code in REFUSED:
                    return self.failed(error), "refused"
                may_pass = error.status_code in MAY_PASS or error.status_code >= 500
                if not may_pass or error.code == "insufficient_quota":
                    raise
                failure, headers = error, error.response.headers
            except (APIConnectionError, MalformedReply) as error:
                failure, headers = error, {}
            now, failures = self.clock(), failures + 1
            first = now if first is None else first
            wait = wait_before_retry(headers, failures)
            if now + wait <= first + PATIENCE:
                self.sleep(wait)
                if not self.ended.is_set():
                    continue
            return self.failed(failure, f" (attempts: {failures}, in {now - first:.0f} s)"), "given up"

    def failed(self, error: Exception | str, after: str = "") -> Completion:
        return Completion(text="", truncated=False, error=self.reason(error) + after)

    def reason(self, error: BaseException | str) -> str:
        """An error in one line, without the key, which an API may repeat."""
        text = str(error) if self.key == NO_KEY else str(error).replace(self.key, "[key]")
        text = " ".join(text.split())
        return text if len(text) <= REASON_LENGTH else text[:REASON_LENGTH] + "..."


def generate(
    api_model: APIModel,
    requests: Sequence[Request],
    sampling_params: SamplingParams,
    account: Account | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] | None = None,
) -> Generator[tuple[int, RequestOutput], None, None]:
    """`sampling_params.n` completions of each request, as (index, output), in order of completion.

    A completion that failed has an `error`. After GIVEN_UP_IN_A_ROW no new call starts, and what is left has failed as
    well. For an error that concerns every request no new call starts either; outputs of calls under way are still
    yielded, then RuntimeError is raised. `account` limits what is spent. `clock` and `sleep` are for the time between
    retries.
    """
    with IMPORTS:
        from openai import OpenAI

    key, ended, failure, in_a_row, last = key_of(api_model), threading.Event(), None, 0, ""
    samples: list[dict[int, tuple[Completion, Outcome]]] = [{} for _ in requests]
    with (
        OpenAI(api_key=key, base_url=api_model.base_url, max_retries=0, timeout=api_model.timeout) as client,
        ThreadPoolExecutor(api_model.concurrency) as pool,
    ):
        caller = _Caller(
            client=client,
            api_model=api_model,
            key=key,
            account=account or Account(),
            ended=ended,
            clock=clock,
            sleep=sleep or ended.wait,
        )
        calls = {
            pool.submit(caller.complete, request, sampling_params, sample): (i, sample)
            for i, request in enumerate(requests)
            for sample in range(sampling_params.n)
        }
        try:
            for call in as_completed(calls):
                i, sample = calls[call]
                if call.cancelled():
                    if failure is not None:
                        continue
                    error = f"not sent, since {GIVEN_UP_IN_A_ROW} requests in a row had failed, the last with: {last}"
                    samples[i][sample] = caller.failed(error), "given up"
                elif (raised := call.exception()) is not None:
                    failure = failure or raised
                    ended.set()
                    _cancel(calls)
                    continue
                else:
                    completion, outcome = samples[i][sample] = call.result()
                    in_a_row = in_a_row + 1 if outcome == "given up" else 0
                    if in_a_row == GIVEN_UP_IN_A_ROW:
                        last = str(completion.error)
                        _cancel(calls)
                if len(samples[i]) == sampling_params.n:
                    yield i, _output([samples[i][k] for k in range(sampling_params.n)])
        finally:
            ended.set()
            _cancel(calls)
    if failure is not None:
        # Not chained: the client's exception holds the request, with the key in it.
        raise RuntimeError(f"{api_model.model} at {api_model.base_url}: {caller.reason(failure)}") from None


def _output(found: Sequence[tuple[Completion, Outcome]]) -> RequestOutput:
    return RequestOutput(
        completions=tuple(completion for completion, _ in found),
        ask_again=any(outcome != "answered" for _, outcome in found),
    )


def _cancel(calls: Mapping[Future, Any]) -> None:
    for call in calls:
        call.cancel()


def _complete(
    client: Any, api_model: APIModel, request: Request, sampling_params: SamplingParams, sample: int
) -> Completion:
    """One completion by one call: not every API supports n > 1, and each completion needs its own token count."""
    assert not request.prefill, "completions of an API cannot be prefilled"
    settings = {
        api_model.max_tokens_field: sampling_params.max_tokens,
        "temperature": sampling_params.temperature,
        "top_p": sampling_params.top_p,
        "stop": list(sampling_params.stop) or None,
        "seed": sampling_params.seed_of(request, sample),
        **api_model.extra,
    }
    settings = {name: value for name, value in settings.items() if value is not None}
    try:
        response = client.chat.completions.create(model=api_model.model, messages=request.prompt, extra_body=settings)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise MalformedReply(f"the API's reply is no JSON: {error}") from error
    try:
        choice, usage = response.choices[0], response.usage
        text, finish_reason = choice.message.content or "", choice.finish_reason
    except (AttributeError, IndexError, TypeError) as error:  # The client checks no types.
        raise MalformedReply(f"the API's reply has no completion: {response}") from error
    if usage is None:
        raise ValueError("the API returned no token usage, by which lengths are counted")
    stopped = finish_reason == "stop"
    # A completion that was limited to a single token is complete; one that a content filter cut is truncated.
    single_token = finish_reason == "length" and sampling_params.max_tokens == 1
    # A limit may cut an emoji: JSON then escapes half of a surrogate pair, which no file and no tokenizer takes.
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return Completion(
        text=text,
        truncated=not stopped and not single_token,
        ends_with_stop_token=stopped,
        usage=Usage(
            model=response.model,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
        ),
        error="the API's content filter left no text" if finish_reason == "content_filter" and not text else None,
    )
