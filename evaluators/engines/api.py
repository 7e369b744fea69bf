"""Models behind an OpenAI-compatible API: chats in, answers as text out, as an engine's `generate` gives them.

Such a model shows no token ids and no probabilities: the ids of its answers are empty, and their length is what the API
counts (with a hidden reasoning, where it bills one). What it shows of its reasoning apart from its answer is not kept.
Its key comes from the environment of the process that asks, and is in nothing that leaves that process.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any

from evaluators.engines.engine import Completion, Request, RequestOutput, SamplingParams, Usage

OPENAI = "https://api.openai.com/v1"
KEY, OPENAI_KEY = "OFFMODEL_API_KEY", "OPENAI_API_KEY"
RETRIES = 10  # after 429, 5xx and lost connections, each after up to 8 seconds, or as long as the API says


@dataclass(frozen=True)
class APIModel:
    """What an API calls a model, and how it is asked there: `limit` is the field with the most tokens of an answer,
    `extra` goes with every question, and leaves out what it has as None."""

    model: str
    base_url: str
    key_env: str | None
    concurrency: int
    limit: str
    extra: Mapping[str, Any]


def key_of(served: APIModel) -> str:
    """The key from the environment. Raises ValueError where there is none and the API wants one."""
    # OpenAI's key is for OpenAI alone: another address gets it only where a study says so.
    names = [served.key_env] if served.key_env else [KEY] + ([OPENAI_KEY] if served.base_url == OPENAI else [])
    found = next((os.environ[name] for name in names if os.environ.get(name)), None)
    if found is None and (served.key_env or served.base_url == OPENAI):
        raise ValueError(f"no key for {served.model} at {served.base_url}: set {' or '.join(names)} in the environment")
    return found or "none"


def generate(
    served: APIModel, requests: Sequence[Request], sampling_params: SamplingParams
) -> Iterator[tuple[int, RequestOutput]]:
    """`sampling_params.n` answers to each request, with its place, in the order in which they come.

    After a failure nothing new is asked, what is under way is still given back, and then the failure is raised.
    """
    from openai import OpenAI

    key, failure = key_of(served), None
    samples: list[dict[int, Completion]] = [{} for _ in requests]
    with (
        OpenAI(api_key=key, base_url=served.base_url, max_retries=RETRIES) as client,
        ThreadPoolExecutor(served.concurrency) as pool,
    ):
        places = {
            pool.submit(_ask, client, served, request, sampling_params, sample): (i, sample)
            for i, request in enumerate(requests)
            for sample in range(sampling_params.n)
        }
        try:
            for one in as_completed(places):
                if one.cancelled():
                    continue
                if (error := one.exception()) is not None:
                    failure = failure or error
                    _cancel(places)
                    continue
                i, sample = places[one]
                samples[i][sample] = one.result()
                if len(samples[i]) == sampling_params.n:
                    yield i, RequestOutput((), (), tuple(samples[i][k] for k in range(sampling_params.n)), False, "")
        finally:
            _cancel(places)
    if failure is not None:
        # Not chained: what the client knows of a failed request has the key in it.
        raise RuntimeError(f"{served.model} at {served.base_url}: {failure}".replace(key, "[key]")) from None


def _cancel(asked: Mapping) -> None:
    for one in asked:
        one.cancel()


def _ask(client: Any, served: APIModel, request: Request, sampling_params: SamplingParams, sample: int) -> Completion:
    """One answer by one question: not every API gives several at once, and each has its own count of tokens."""
    assert not request.prefill, "answers of an API cannot be begun"
    how = {
        served.limit: sampling_params.max_tokens,
        "temperature": sampling_params.temperature,
        "top_p": sampling_params.top_p,
        "stop": list(sampling_params.stop) or None,
        "seed": sampling_params.seed * 1_000_003 + request.number * sampling_params.n + sample
        if sampling_params.temperature > 0
        else None,
        **served.extra,
    }
    how = {name: value for name, value in how.items() if value is not None}
    said = client.chat.completions.create(model=served.model, messages=request.prompt, extra_body=how)
    if not said.choices or said.usage is None:
        raise ValueError("the API gave no answer, or did not count its tokens, so that it cannot be used")
    choice = said.choices[0]
    ended = choice.finish_reason == "stop"
    # A single token that was asked for is no answer cut short; one that a filter broke off is.
    truncated = not ended and not (choice.finish_reason == "length" and sampling_params.max_tokens == 1)
    usage = Usage(said.model, said.usage.prompt_tokens, said.usage.completion_tokens)
    return Completion((), choice.message.content or "", truncated, ended, usage=usage)
