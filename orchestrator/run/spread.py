"""Splits a large batch into parts, which the replicas of an engine take as they have room.

A replica is given a few parts at a time, enough to fill its batches. The others wait here, so that a replica that
starts later gets its share.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

PART = 64  # requests; vLLM runs up to 256 at once by default
PARTS_EACH = 8  # parts of a batch that one replica has at once
LOOK_SECONDS = 5.0  # between two looks at how many replicas there are


def spread(
    ask: Callable[[list], Iterator[list[tuple[int, Any]]]], requests: Sequence, replicas: Callable[[], int]
) -> Iterator[list[tuple[int, Any]]]:
    """The chunks of `ask`, which is called with parts of the requests, several at once in threads of their own. Raises
    the first error of a part, and drops the others. `replicas`: how many the engine has now."""
    parts = deque(range(start, min(start + PART, len(requests))) for start in range(0, len(requests), PART))
    found, ended, running = queue.SimpleQueue[Any](), threading.Event(), 0

    def run(part: range) -> None:
        try:
            with closing(ask([requests[place] for place in part])) as chunks:  # type: ignore[type-var]
                for chunk in chunks:
                    if ended.is_set():
                        return
                    found.put([(part[i], result) for i, result in chunk])
            found.put(None)
        except Exception as error:  # noqa: BLE001  # Raised again in the caller's thread.
            found.put(error)

    try:
        while parts or running:
            most = PARTS_EACH * max(1, replicas())
            while parts and running < most:
                threading.Thread(target=run, args=(parts.popleft(),), daemon=True).start()
                running += 1
            try:
                chunk = found.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                continue
            if isinstance(chunk, Exception):
                raise chunk
            if chunk is None:
                running -= 1
            else:
                yield chunk
    finally:
        ended.set()
