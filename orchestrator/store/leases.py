"""Leases: which process runs a stage, so that two trials, or two machines, share one execution.

A lease is a file `lease-<n>` beside the record, created only if it does not exist. Its owner rewrites it every few
seconds, a heartbeat. Another process takes over by creating `lease-<n+1>`, once the file has not changed for the length
of a lease by its own clock, or once the owner's process on the same machine has ended. Of several that try, one
succeeds.
"""

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import psutil

from orchestrator.store.store import Store

LEASE_SECONDS = 60.0
Wait = Callable[[threading.Event, float], bool]  # waits for an event or the seconds; True if it was the event


@cache
def _machine() -> str:
    """An id that is equal for two processes which see each other's process ids."""
    boot, namespace = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    if boot.exists() and namespace.exists():
        return f"{boot.read_text().strip()} {os.readlink(namespace)}"
    return socket.gethostname()


class Lease:
    """A lease that this process holds until `release`, or until the process ends."""

    def __init__(self, store: Store, folder: str, number: int, seconds: float, wait: Wait):
        self.number = number
        self._store, self._path, self._seconds, self._wait = store, f"{folder}/lease-{number}", seconds, wait
        self._owner = {
            "machine": _machine(),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "process_started": psutil.Process().create_time(),
        }
        self._released = threading.Event()
        self._writing = threading.Lock()  # A heartbeat must not write the file of a released lease again.
        store.create(self._path, self._content(0))
        threading.Thread(target=self._beat, daemon=True).start()

    def _content(self, beat: int) -> bytes:
        return json.dumps({**self._owner, "beat": beat}).encode()

    def _beat(self) -> None:
        beat = 0
        while not self._wait(self._released, self._seconds / 6):
            beat += 1
            with self._writing:
                if not self._released.is_set():
                    # A write that fails is repeated at the next heartbeat; a lease is several heartbeats long.
                    with contextlib.suppress(Exception):  # Each kind of store has its own errors.
                        self._store.overwrite(self._path, self._content(beat))

    def release(self) -> None:
        """Release the lease. Call it after the record is written, or after the stage has failed."""
        with self._writing:
            self._released.set()
        with contextlib.suppress(FileNotFoundError):  # Another process took over and has released it.
            self._store.fs.rm_file(self._path)


class LeaseRequest:
    """A request for the lease of the stage at `address`; it remembers since when the present lease is unchanged."""

    def __init__(
        self,
        store: Store,
        address: str,
        seconds: float = LEASE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        wait: Wait = threading.Event.wait,
    ):
        self._store, self._folder, self._seconds = store, f"{store.root}/{address}", seconds
        self._clock, self._wait = clock, wait
        self._seen: tuple[int, bytes] | None = None
        self._since = 0.0

    def attempt(self) -> Lease | None:
        """The lease, or None while another process holds it."""
        present = self._newest()
        if present is not None and self._alive(*present):
            return None
        number = 1 if present is None else present[0] + 1
        try:
            return Lease(self._store, self._folder, number, self._seconds, self._wait)
        except FileExistsError:
            return None

    def _newest(self) -> tuple[int, bytes] | None:
        # fsspec may have cached the listing of a remote folder.
        self._store.fs.invalidate_cache(self._folder)
        try:
            names = [entry.rsplit("/", 1)[-1] for entry in self._store.fs.ls(self._folder, detail=False)]
        except (FileNotFoundError, NotADirectoryError):
            return None
        numbers = [int(name.removeprefix("lease-")) for name in names if name.startswith("lease-")]
        if not numbers:
            return None
        content = self._store.read(f"{self._folder}/lease-{max(numbers)}")
        return None if content is None else (max(numbers), content)

    def _alive(self, number: int, content: bytes) -> bool:
        owner = json.loads(content)
        if owner["machine"] == _machine() and not _runs(owner["pid"], owner["process_started"]):
            return False
        if self._seen != (number, content):
            self._seen, self._since = (number, content), self._clock()
        return self._clock() - self._since < self._seconds


def _runs(pid: int, started: float) -> bool:
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - started) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
