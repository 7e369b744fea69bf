"""Asks an engine although its process may be lost, and finds the request that crashes it.

A request after which the process is lost is sent again a few times: the node may be to blame. If no result arrives in
between, and the engine survives a harmless request, the batch is halved until the request that crashes it is alone. It
is recorded as failed, and the others are answered.
"""

import logging
from collections.abc import Callable, Iterator
from typing import Any

from evaluators.engines.requests import Completion, Request, RequestOutput, SamplingParams

log = logging.getLogger(__name__)


class EngineLost(Exception):
    """A replica's process ended before its last result; another replica may take the rest of the batch."""


# A chunk of (index of the request, result) for each few seconds; raises EngineLost when the process is lost
Ask = Callable[[list[Request], tuple], Iterator[list[tuple[int, Any]]]]
HARMLESS = Request(prompt=(1,), prefill=(1,))  # Every vocabulary has the token id 1.


def ask_despite_losses(
    ask: Ask, retries: int, method: str, requests: list[Request], arguments: tuple
) -> Iterator[list[tuple[int, Any]]]:
    """Chunks of (index of the request, result) of `generate` or `score`.

    Requests without a result when the process is lost are sent again, `retries` times without progress. Raises
    EngineLost if a harmless request is lost as well, and RuntimeError for a request of `score` that crashes the
    engine, for which there is no result.
    """
    groups = [(list(range(len(requests))), retries)] if requests else []
    while groups:
        group, tries = groups.pop()
        left = dict.fromkeys(group)
        try:
            for chunk in ask([requests[place] for place in group], arguments):
                results = [(group[i], result) for i, result in chunk]
                for place, _ in results:
                    del left[place]
                yield results
        except EngineLost as error:
            if not left:
                continue
            if len(left) < len(group):
                groups.append((list(left), retries))
            elif tries:
                groups.append((group, tries - 1))
            elif not _survives(ask, method):
                raise
            elif len(group) == 1:
                yield [(group[0], _failed(method, requests[group[0]], arguments, retries, error))]
            else:
                log.warning("%d requests crash the engine; the one that does is looked for", len(group))
                halves = group[: len(group) // 2], group[len(group) // 2 :]
                # A half is sent once, since its loss costs nothing but another half. One request alone has all tries.
                groups += [(half, retries if len(half) == 1 else 0) for half in reversed(halves)]


def _survives(ask: Ask, method: str) -> bool:
    """Whether the engine's process survives a harmless request."""
    from ray.exceptions import RayTaskError

    try:
        for _ in ask([HARMLESS], (SamplingParams(max_tokens=1),) if method == "generate" else ()):
            pass
    except EngineLost:
        return False
    except RayTaskError:  # An error is an answer, too.
        pass
    return True


def _failed(method: str, request: Request, arguments: tuple, retries: int, error: Exception) -> RequestOutput:
    reason = f"the engine crashed {retries + 1} times on this request alone: {str(error).strip().splitlines()[0]}"
    if method == "score":
        raise RuntimeError(f"request {request.number} ({str(request.prompt)[:60]}...): {reason}") from error
    (params,) = arguments
    return RequestOutput(completions=(Completion(text="", truncated=False, error=reason),) * params.n)
