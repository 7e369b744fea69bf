"""Asks an engine although its process may be lost, and finds the request that crashes it.

Requests without a result when the process is lost are sent again, since the node may be to blame. If there was no
progress, the engine then runs them alone, so that they share their next loss with no other call. A few losses later, if
the engine survives a harmless request, they are halved until the request that crashes it is alone. It is recorded as
failed, and the others are answered. A loss before the engine has begun with a call says nothing of its requests.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from evaluators.engines.requests import Completion, Request, RequestOutput, SamplingParams

log = logging.getLogger(__name__)


class EngineLost(Exception):
    """A replica's process ended before its last result; another replica may take the rest of the batch. `begun`:
    whether the engine had begun with the requests."""

    def __init__(self, reason: str, begun: bool = True):
        super().__init__(reason)
        self.begun = begun


# (requests, arguments, alone): chunks of (index of the request, result), one each few seconds. Raises EngineLost when
# the process is lost.
Ask = Callable[[list[Request], tuple, bool], Iterator[list[tuple[int, Any]]]]
HARMLESS = Request(prompt=(1,), prefill=(1,))  # Every vocabulary has the token id 1.
LOSSES_BEFORE = 20  # of the process in a row before it has begun with a call, after which it is asked no more


@dataclass(frozen=True, kw_only=True)
class Group:
    """Requests that are sent together, by their places, and how many losses without progress are left to them."""

    places: list[int]
    tries: int
    alone: bool = False
    before: int = LOSSES_BEFORE


def ask_despite_losses(
    ask: Ask, retries: int, method: str, requests: list[Request], arguments: tuple
) -> Iterator[list[tuple[int, Any]]]:
    """Chunks of (index of the request, result) of `generate` or `score`.

    Requests without a result when the process is lost are sent again, `retries` times without progress. Raises
    EngineLost if a harmless request is lost as well, and RuntimeError for a request of `score` that crashes the
    engine, for which there is no result.
    """
    groups = [Group(places=list(range(len(requests))), tries=retries)] if requests else []
    while groups:
        group = groups.pop()
        left = dict.fromkeys(group.places)
        try:
            for chunk in ask([requests[place] for place in group.places], arguments, group.alone):
                results = [(group.places[i], result) for i, result in chunk]
                for place, _ in results:
                    del left[place]
                yield results
        except EngineLost as error:
            if not left:
                continue
            if len(left) < len(group.places):
                groups.append(Group(places=list(left), tries=retries, alone=group.alone))
            elif not error.begun and group.before:
                groups.append(replace(group, before=group.before - 1))
            elif group.tries:
                groups.append(replace(group, tries=group.tries - 1, alone=True, before=LOSSES_BEFORE))
            elif error.begun and not group.alone:
                groups.append(replace(group, alone=True))
            elif not error.begun or not _survives(ask, method):
                raise
            elif len(group.places) == 1:
                yield [(group.places[0], _failed(method, requests[group.places[0]], arguments, retries, error))]
            else:
                log.warning("%d requests crash the engine; the one that does is looked for", len(group.places))
                half = len(group.places) // 2
                # A half is sent once, since its loss costs nothing but another half. One request alone has all tries.
                groups += [
                    Group(places=places, tries=retries if len(places) == 1 else 0, alone=True)
                    for places in (group.places[half:], group.places[:half])
                ]


def _survives(ask: Ask, method: str) -> bool:
    """Whether the engine's process survives a harmless request."""
    from ray.exceptions import RayTaskError

    try:
        for _ in ask([HARMLESS], (SamplingParams(max_tokens=1),) if method == "generate" else (), False):
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
