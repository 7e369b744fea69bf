"""How long to wait before a request to an API is repeated: as long as the API says, else exponentially longer."""

import random
import re
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime

FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "": 1.0}


def wait_before_retry(headers: Mapping[str, str], failures: int, now: Callable[[], float] = time.time) -> float:
    """Seconds to wait after `failures` failures of a request; `headers` are those of the last reply, in lower case.

    `retry-after-ms` and `retry-after` are obeyed. `x-ratelimit-reset-*` say when a whole budget is back, of which one
    request needs little, so that LONGEST_WAIT bounds them.
    """
    for header, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        if (told := _seconds(headers.get(header, ""), now)) is not None:
            return told * unit
    resets = (_seconds(value, now) for name, value in headers.items() if name.startswith("x-ratelimit-reset-"))
    exponential = FIRST_WAIT * 2.0 ** min(failures - 1, 10) * random.uniform(0.75, 1.0)
    return min(max([exponential, *(seconds for seconds in resets if seconds is not None)]), LONGEST_WAIT)


def _seconds(value: str, now: Callable[[], float]) -> float | None:
    """Seconds from a number, a duration such as `6m0s` or `20ms`, or an HTTP date; None for anything else."""
    if re.fullmatch(r"(\d+(\.\d+)?(h|ms|m|s|)){1,4}", value):
        return sum(float(number) * _UNITS[unit] for number, _, unit in re.findall(r"(\d+(\.\d+)?)(h|ms|m|s|)", value))
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now())
    except ValueError:
        return None
