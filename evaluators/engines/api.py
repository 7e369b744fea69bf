"""Models behind an OpenAI-compatible API, with the same `generate` as an engine.

An API returns no token ids and no log-probabilities here: completions have empty `token_ids`, and their length is the
API's count, which includes hidden reasoning where the API bills it. A separate reasoning field is not stored. The key
is read from the environment of the calling process and never leaves that process.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any

from evaluators.engines.requests import Completion, Request, RequestOutput, SamplingParams, Usage

OPENAI = "https://api.openai.com/v1"
KEY, OPENAI_KEY = "OFFMODEL_API_KEY", "OPENAI_API_KEY"
RETRIES = 10  # after 429, 5xx and lost connections, each after up to 8 seconds, or as long as the API says


@dataclass(frozen=True)
class APIModel:
    """A model's name at an API, and how to call it. `max_tokens_field` is the request field that limits the tokens.

    `extra` is added to every request; a value of None removes that field.
    """

    model: str
    base_url: str
    key_env: str | None
    concurrency: int
    max_tokens_field: str
    extra: Mapping[str, Any]


def key_of(api_model: APIModel) -> str:
    """The key from the environment. Raises ValueError where it is not set and the API needs one."""
    # OpenAI's key is for OpenAI alone: another address gets it only where a study names it.
    names = [api_model.key_env] if api_model.key_env else [KEY] + ([OPENAI_KEY] if api_model.base_url == OPENAI else [])
    key = next((os.environ[name] for name in names if os.environ.get(name)), None)
    if key is None and (api_model.key_env or api_model.base_url == OPENAI):
        raise ValueError(
            f"no key for {api_model.model} at {api_model.base_url}: set {' or '.join(names)} in the environment"
        )
    return key or "none"


def generate(
    api_model: APIModel, requests: Sequence[Request], sampling_params: SamplingParams
) -> Iterator[tuple[int, RequestOutput]]:
    """`sampling_params.n` completions of each request, as (index, output), in order of completion.

    After a failed call no new call starts; outputs of calls under way are still yielded, then RuntimeError is raised.
    """
    from openai import OpenAI

    key, failure = key_of(api_model), None
    samples: list[dict[int, Completion]] = [{} for _ in requests]
    with (
        OpenAI(api_key=key, base_url=api_model.base_url, max_retries=RETRIES) as client,
        ThreadPoolExecutor(api_model.concurrency) as pool,
    ):
        calls = {
            pool.submit(_complete, client, api_model, request, sampling_params, sample): (i, sample)
            for i, request in enumerate(requests)
            for sample in range(sampling_params.n)
        }
        try:
            for call in as_completed(calls):
                if call.cancelled():
                    continue
                if (error := call.exception()) is not None:
                    failure = failure or error
                    _cancel(calls)
                    continue
                i, sample = calls[call]
                samples[i][sample] = call.result()
                if len(samples[i]) == sampling_params.n:
                    yield i, RequestOutput(completions=tuple(samples[i][k] for k in range(sampling_params.n)))
        finally:
            _cancel(calls)
    if failure is not None:
        # Not chained: the client's exception holds the request, with the key in it.
        raise RuntimeError(f"{api_model.model} at {api_model.base_url}: {failure}".replace(key, "[key]")) from None


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
    response = client.chat.completions.create(model=api_model.model, messages=request.prompt, extra_body=settings)
    if not response.choices or response.usage is None:
        raise ValueError("the API returned no choice, or no token usage")
    choice = response.choices[0]
    stopped = choice.finish_reason == "stop"
    # A completion that was limited to a single token is complete; one that a content filter cut is truncated.
    single_token = choice.finish_reason == "length" and sampling_params.max_tokens == 1
    usage = response.usage
    # A limit may cut an emoji: JSON then escapes half of a surrogate pair, which no file and no tokenizer takes.
    text = (choice.message.content or "").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return Completion(
        text=text,
        truncated=not stopped and not single_token,
        ends_with_stop_token=stopped,
        usage=Usage(
            model=response.model,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
        ),
    )
