"""What happens to a batch when its engine's process is lost. A function takes the place of the engine's handle."""

from dataclasses import replace

import pytest
from ray.exceptions import RayTaskError

from evaluators.engines.requests import Completion, Request, RequestOutput, SamplingParams
from orchestrator.run.engine_client import HARMLESS, LOSSES_BEFORE, EngineLost, ask_despite_losses

PARAMS = SamplingParams(max_tokens=8, n=2)


class Engine:
    """Answers in chunks of ten, and is lost when it begins with a request whose number is among `crashing`."""

    def __init__(self, *crashing: int):
        self.crashing, self.batches = set(crashing), []

    def __call__(self, requests, arguments, alone):
        self.batches.append([request.number for request in requests])
        for start in range(0, len(requests), 10):
            chunk = requests[start : start + 10]
            if any(request.number in self.crashing for request in chunk):
                raise EngineLost("the process of the engine ended")
            yield [(start + i, output(request)) for i, request in enumerate(chunk)]


def output(request: Request) -> RequestOutput:
    return RequestOutput(completions=(Completion(text=str(request.number), truncated=False),))


def results_of(ask, n: int, retries: int = 2, method: str = "generate") -> dict[int, RequestOutput]:
    requests = [Request(prompt=[], number=number) for number in range(1, n + 1)]
    found: dict[int, RequestOutput] = {}
    for chunk in ask_despite_losses(ask, retries, method, requests, (PARAMS,) if method == "generate" else ()):
        assert not found.keys() & dict(chunk).keys()
        found |= dict(chunk)
    return found


def test_without_a_loss_everything_is_sent_once():
    engine = Engine()
    assert len(results_of(engine, 25)) == 25
    assert len(engine.batches) == 1
    assert results_of(engine, 0) == {}


@pytest.mark.parametrize("crashing", [(1,), (77,), (100,), (5, 6), (1, 50, 100)])
def test_the_request_that_crashes_the_engine_is_found_and_the_others_are_answered(crashing):
    engine = Engine(*crashing)
    found = results_of(engine, 100)
    assert len(found) == 100
    failed = {place + 1: one for place, one in found.items() if one.error}
    assert set(failed) == set(crashing)
    assert all("crashed 3 times on this request alone" in one.error and not one.ask_again for one in failed.values())
    assert all(len(one.completions) == PARAMS.n for one in failed.values())
    assert found[42].completions[0].text == "43"
    sent = [batch for batch in engine.batches if set(crashing) & set(batch)]
    assert len(sent) <= len(crashing) * (3 + 7 + 2 + 1)  # tries, halves, tries alone, a loss after progress


def test_losses_with_progress_cost_no_retries():
    def ask(requests, arguments, alone):
        yield [(0, output(requests[0]))]
        if len(requests) > 1:
            raise EngineLost("the process of the engine ended")

    assert len(results_of(ask, 20, retries=0)) == 20


def test_a_loss_after_the_last_result_is_none():
    def ask(requests, arguments, alone):
        yield [(i, output(request)) for i, request in enumerate(requests)]
        raise EngineLost("the process of the engine ended")

    assert len(results_of(ask, 3)) == 3


def test_an_engine_that_is_always_lost_ends_the_batch_and_condemns_no_request():
    batches = []

    def ask(requests, arguments, alone):
        batches.append(requests)
        raise EngineLost("the process of the engine ended")

    with pytest.raises(EngineLost):
        results_of(ask, 100)
    assert [len(batch) for batch in batches] == [100, 100, 100, 1]
    assert batches[-1] == [HARMLESS]


def test_a_loss_before_the_engine_has_begun_says_nothing_of_the_requests():
    asked = []

    def ask(requests, arguments, alone):
        asked.append(alone)
        if len(asked) <= 10:
            raise EngineLost("another call crashed the engine", begun=False)
        yield [(i, output(request)) for i, request in enumerate(requests)]

    assert len(results_of(ask, 3, retries=0)) == 3
    assert not any(asked)


def test_an_engine_that_never_begins_is_given_up():
    asked = []

    def ask(requests, arguments, alone):
        asked.append(requests)
        raise EngineLost("the engine does not start", begun=False)

    with pytest.raises(EngineLost, match="does not start"):
        results_of(ask, 3, retries=0)
    assert len(asked) == LOSSES_BEFORE + 1


def test_after_a_loss_the_requests_run_alone():
    """Another call crashes the engine twice, when they share it."""
    asked = []

    def ask(requests, arguments, alone):
        asked.append(alone)
        if not alone:
            raise EngineLost("another call crashed the engine")
        yield [(i, output(request)) for i, request in enumerate(requests)]

    found = results_of(ask, 9, retries=0)
    assert not any(one.error for one in found.values())
    assert asked == [False, True]


def test_an_engine_that_refuses_the_harmless_request_is_alive():
    engine = Engine(3)

    def ask(requests, arguments, alone):
        if requests == [HARMLESS]:
            raise RayTaskError("call", "traceback", ValueError("no token ids"))
        return engine(requests, arguments, alone)

    assert [place for place, one in results_of(ask, 9).items() if one.error] == [2]


def test_a_request_to_score_that_crashes_the_engine_is_named():
    with pytest.raises(RuntimeError, match=r"request 7 .*crashed 3 times"):
        results_of(Engine(7), 9, method="score")


def test_whoever_needs_every_completion_is_told_why_there_is_none():
    one = output(Request(prompt=[], number=1))
    assert one.answered() is one
    lost = replace(one, completions=(Completion(text="", truncated=False, error="the engine crashed"),))
    with pytest.raises(RuntimeError, match="the engine crashed"):
        lost.answered()
