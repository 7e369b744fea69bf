"""How long to wait before a request is repeated."""

import pytest

from evaluators.engines.backoff import FIRST_WAIT, LONGEST_WAIT, wait_before_retry

NOW = 1445412000.0  # Wed, 21 Oct 2015 07:20:00 GMT


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "90"}, 90),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 480),
        ({"retry-after": "Wed, 21 Oct 2015 07:00:00 GMT"}, 0),
        ({"retry-after": "soon", "x-ratelimit-reset-tokens": "12.5s"}, 12.5),
        ({"x-ratelimit-reset-requests": "20ms", "x-ratelimit-reset-tokens": "30.25"}, 30.25),
        ({"x-ratelimit-reset-tokens": "6m0s"}, LONGEST_WAIT),
        ({"x-ratelimit-reset-tokens": "1h2m3s"}, LONGEST_WAIT),
    ],
)
def test_the_api_says_how_long(headers, seconds):
    assert wait_before_retry(headers, 1, lambda: NOW) == seconds


@pytest.mark.parametrize(("failures", "most"), [(1, FIRST_WAIT), (2, 2.0), (4, 8.0), (7, LONGEST_WAIT), (10_000, 60.0)])
def test_without_a_word_of_the_api_waits_double(failures, most):
    assert 0.75 * most <= wait_before_retry({"date": "today"}, failures) <= most
