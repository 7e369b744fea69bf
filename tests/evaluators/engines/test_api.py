"""Failures of an API: what is retried and for how long, what is recorded, and what ends the batch."""

import threading
from dataclasses import replace
from queue import SimpleQueue

import pytest

from evaluators.engines import api
from evaluators.engines.api import generate
from evaluators.engines.requests import Request, RequestOutput, SamplingParams
from tests.api_server import KEY, chat

GREEDY = SamplingParams(max_tokens=8)
JSON = {"content-type": "application/json", "retry-after-ms": "1"}
NO_HEADERS: dict[str, str] = {}


class Clock:
    """Time that passes only in waits."""

    def __init__(self) -> None:
        self.now, self.waits = 0.0, list[float]()

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


def requests(n: int) -> list[Request]:
    return [Request(prompt=[{"role": "user", "content": f"prompt {i}"}], number=i) for i in range(n)]


def outputs_of(server, n: int = 1, clock: Clock | None = None, **changed) -> list[RequestOutput]:
    """The outputs of n requests, in their order."""
    time = {} if clock is None else {"clock": clock, "sleep": clock.sleep}
    found = dict(generate(replace(server.served, **changed), requests(n), GREEDY, **time))
    return [found[i] for i in range(n)]


def error(message: str, **more) -> dict:
    return {"error": {"message": message, **more}}


@pytest.mark.parametrize(("status", "n"), [(400, 200), (413, 10), (422, 10)])
def test_a_prompt_that_the_api_refuses_costs_no_other_answer(server, status, n):
    def replies(body, nth):
        refused = body["messages"][-1]["content"] == "prompt 7"
        return (status, error("flagged by\nthe content filter")) if refused else (200, chat(body))

    server.replies = replies
    outputs = outputs_of(server, n)
    assert [i for i, output in enumerate(outputs) if output.error] == [7]
    assert "flagged by the content filter" in outputs[7].error
    assert outputs[7].ask_again  # It cost nothing, and an API refuses so for passing reasons as well.
    assert outputs[-1].completions[0].text == f"You said: prompt {n - 1}"
    assert len(server.bodies) == n


def test_a_completion_of_which_a_filter_left_nothing_has_failed_for_good(server):
    empty = {"finish_reason": "content_filter", "message": {"role": "assistant", "content": None}}
    server.replies = lambda body, nth: (200, chat(body, choice=empty))
    (output,) = outputs_of(server)
    assert (output.error, output.ask_again) == ("the API's content filter left no text", False)
    assert output.completions[0].usage.prompt_tokens == 5  # It was paid for.


@pytest.mark.parametrize(
    ("reply", "headers"),
    [
        ("<html>502 Bad Gateway</html>", {"content-type": "text/html", "retry-after-ms": "1"}),
        ('{"id": "1", "choices": [{"mess', JSON),
        ("\ufeff", JSON),
        ({"choices": None, "error": {"message": "upstream is away", "code": 502}}, JSON),
        ({"choices": []}, JSON),
        ({"choices": ["text"]}, JSON),
        ({"choices": [{"message": None, "finish_reason": "stop"}]}, JSON),
        ([], JSON),
        ("null", JSON),
        ('{"id": "1"', {**JSON, "content-length": "9999"}),  # The connection is cut in the body.
    ],
)
def test_a_malformed_reply_is_asked_for_again(server, reply, headers):
    server.replies = lambda body, nth: (200, reply, headers) if nth == 1 else (200, chat(body))
    (output,) = outputs_of(server, clock=Clock())
    assert output.completions[0].text == "You said: prompt 0"
    assert len(server.bodies) == 2


def test_a_reply_that_does_not_come_is_asked_for_again(server):
    asked_again, in_time = threading.Event(), SimpleQueue[bool]()

    def replies(body, nth):
        if nth == 1:
            in_time.put(asked_again.wait(30))
        asked_again.set()
        return 200, chat(body)

    server.replies = replies
    (output,) = outputs_of(server, clock=Clock(), timeout=1)
    assert output.completions[0].text == "You said: prompt 0"
    assert in_time.get(timeout=30)


def test_a_rate_limit_is_waited_for(server):
    clock = Clock()
    limit = {"x-ratelimit-reset-tokens": "48s"}
    server.replies = lambda body, nth: (200, chat(body)) if clock.now > 500 else (429, error("slow down"), limit)
    outputs = outputs_of(server, 3, clock, concurrency=1)
    assert [output.error for output in outputs] == [None] * 3
    assert clock.waits[0] == 48
    assert 500 < clock.now <= 500 + 60


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
def test_what_does_not_pass_in_ten_minutes_fails_its_request_alone(server, status):
    clock = Clock()

    def replies(body, nth):
        busy = body["messages"][-1]["content"] == "prompt 0"
        return (status, error("busy"), NO_HEADERS) if busy else (200, chat(body))

    server.replies = replies
    first, *others = outputs_of(server, 5, clock, concurrency=1)
    assert first.ask_again
    assert "busy" in first.error
    assert f"(attempts: {len(clock.waits) + 1}, in {clock.now:.0f} s)" in first.error
    assert api.PATIENCE - 60 < clock.now <= api.PATIENCE
    assert [output.error for output in others] == [None] * 4
    assert len(server.bodies) == len(clock.waits) + 1 + 4


def test_a_wait_longer_than_ten_minutes_is_not_begun(server):
    clock = Clock()
    server.replies = lambda body, nth: (429, error("come back tomorrow"), {"retry-after": "86400"})
    (output,) = outputs_of(server, clock=clock)
    assert "come back tomorrow" in output.error
    assert clock.waits == []


def test_an_api_that_is_away_is_not_asked_for_every_prompt(server):
    server.replies = lambda body, nth: (503, error("down"), {"retry-after": "301"})
    outputs = outputs_of(server, 100, Clock(), concurrency=1)
    not_sent = [output for output in outputs if output.error.startswith("not sent, since 20 requests in a row")]
    assert 100 - api.GIVEN_UP_IN_A_ROW - 2 <= len(not_sent) <= 100 - api.GIVEN_UP_IN_A_ROW
    assert all(output.ask_again and "down" in output.error for output in outputs)


@pytest.mark.parametrize(
    ("status", "details"),
    [(401, {}), (402, {}), (403, {}), (404, {}), (429, {"code": "insufficient_quota"})],
)
def test_what_concerns_every_request_ends_the_batch_at_once(server, status, details):
    server.replies = lambda body, nth: (status, error("no such thing", **details), NO_HEADERS)
    with pytest.raises(RuntimeError, match=r"far at http://127.*no such thing"):
        outputs_of(server, 100, Clock())
    assert len(server.bodies) < 10


def test_a_batch_that_has_ended_waits_for_nothing(server):
    waits = threading.Event()

    def replies(body, nth):
        if body["messages"][-1]["content"] == "prompt 0":
            waits.set()
            return 429, error("busy"), {"retry-after": "500"}
        assert waits.wait(60)
        return 401, error("the key has expired")

    server.replies = replies
    with pytest.raises(RuntimeError, match="expired"):
        outputs_of(server, 2)
    assert len(server.bodies) == 2


@pytest.mark.parametrize(
    "reply",
    [
        (400, error(f"refused to {KEY}")),
        (503, error(f"busy for {KEY}"), {"retry-after": "900"}),
        (200, f"<html>{KEY}</html>", {"content-type": "text/html", "retry-after": "900"}),
        (200, {"choices": None, "error": KEY}, {**JSON, "retry-after": "900"}),
        (200, f'"{KEY}', {**JSON, "retry-after": "900"}),
    ],
)
def test_no_recorded_reason_has_the_key(server, reply):
    server.replies = lambda body, nth: reply
    (output,) = outputs_of(server, clock=Clock())
    assert output.error
    assert KEY not in repr(output)


def test_a_reason_is_whole_where_there_is_no_key(server):
    server.replies = lambda body, nth: (400, error("none of the messages has text"))
    (output,) = outputs_of(server, key_env=None)
    assert "none of the messages" in output.error


def test_a_long_reason_is_cut(server):
    server.replies = lambda body, nth: (400, error("too long: " + "word " * 1000))
    (output,) = outputs_of(server)
    assert len(output.error) == api.REASON_LENGTH + len("...")
