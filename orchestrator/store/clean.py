"""Removes what is left beside finished stages: leases, partial results, states and folders of other attempts.

A stage removes these itself when it is finished. Some stay where that failed, as with another user's files, or where a
process that had been stopped was woken later.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from orchestrator.store.leases import LEASE_SECONDS, LeaseRequest
from orchestrator.store.stage import Stage
from orchestrator.store.store import LEASES, READERS, RECORD, Store


def clean(
    store: Store,
    records: dict[Stage, dict[str, Any]],
    seconds: float = LEASE_SECONDS,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[tuple[str, bool]]:
    """Remove what is left beside the stages with these records; yields (path, whether it was removed).

    Files of a stage whose lease is held stay. Another machine's lease is held if it changes within `seconds`.
    """
    with ThreadPoolExecutor(READERS) as readers:
        listed = readers.map(lambda stage: store.names(stage.address), records)
        left = {
            stage.address: [name for name in names if name not in (RECORD, record["attempt"])]
            for (stage, record), names in zip(records.items(), listed, strict=True)
        }
    requests = {
        address: [
            LeaseRequest(store, address, seconds, clock, name=lease)
            for lease in {name.rpartition("-")[0] for name in names if name.startswith(LEASES)}
        ]
        for address, names in left.items()
    }
    if [one for each in requests.values() for one in each if one.held()]:
        sleep(seconds)
    for address, names in left.items():
        held = any(one.held() for one in requests[address])
        for name in names:
            if not held:
                store.remove_folder(f"{address}/{name}")
            yield f"{address}/{name}", not held
