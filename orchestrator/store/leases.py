"""Claims: who is at work on a stage, so that two trials, or two machines, share one execution.

A claim is a file `claim-<n>` beside the record, created only where there is none. Its owner changes it every few
seconds. Whoever sees it unchanged for the length of a lease, by their own clock, or finds its owner dead on their own
machine, takes over by creating `claim-<n+1>`: of several who try, one succeeds.
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
    """Equal for two processes that see each other's process ids."""
    boot, namespace = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    if boot.exists() and namespace.exists():
        return f"{boot.read_text().strip()} {os.readlink(namespace)}"
    return socket.gethostname()


class Lease:
    """A held claim. It stays alive until `release`, or until this process ends."""

    def __init__(self, store: Store, folder: str, number: int, lease: float, wait: Wait):
        self.number = number
        self._store, self._path, self._lease, self._wait = store, f"{folder}/claim-{number}", lease, wait
        self._owner = {
            "machine": _machine(),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "process_started": psutil.Process().create_time(),
        }
        self._released = threading.Event()
        self._writing = threading.Lock()  # A beat must not bring back the file of a claim that was given up.
        store.create(self._path, self._content(0))
        threading.Thread(target=self._beat, daemon=True).start()

    def _content(self, beat: int) -> bytes:
        return json.dumps({**self._owner, "beat": beat}).encode()

    def _beat(self) -> None:
        beat = 0
        while not self._wait(self._released, self._lease / 6):
            beat += 1
            with self._writing:
                if not self._released.is_set():
                    # A store that fails once is asked again at the next beat; a lease is several beats long.
                    with contextlib.suppress(Exception):  # Each kind of store has its own errors.
                        self._store.overwrite(self._path, self._content(beat))

    def release(self) -> None:
        """Give the claim up. Call it after the record is written, or after the work has failed."""
        with self._writing:
            self._released.set()
        with contextlib.suppress(FileNotFoundError):  # Taken over and given up by another in the meantime.
            self._store.fs.rm_file(self._path)


class LeaseRequest:
    """One who wants a stage's claim and remembers how long the present one has been still."""

    def __init__(
        self,
        store: Store,
        address: str,
        lease: float = LEASE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        wait: Wait = threading.Event.wait,
    ):
        self._store, self._folder, self._lease = store, f"{store.root}/{address}", lease
        self._clock, self._wait = clock, wait
        self._seen: tuple[int, bytes] | None = None
        self._since = 0.0

    def attempt(self) -> Lease | None:
        """The claim, or None while somebody else is alive and at work."""
        present = self._newest()
        if present is not None and self._alive(*present):
            return None
        number = 1 if present is None else present[0] + 1
        try:
            return Lease(self._store, self._folder, number, self._lease, self._wait)
        except FileExistsError:
            return None

    def _newest(self) -> tuple[int, bytes] | None:
        # A folder listing may come from a cache, of all things for a store on the network.
        self._store.fs.invalidate_cache(self._folder)
        try:
            names = [entry.rsplit("/", 1)[-1] for entry in self._store.fs.ls(self._folder, detail=False)]
        except (FileNotFoundError, NotADirectoryError):
            return None
        numbers = [int(name.removeprefix("claim-")) for name in names if name.startswith("claim-")]
        if not numbers:
            return None
        content = self._store.read(f"{self._folder}/claim-{max(numbers)}")
        return None if content is None else (max(numbers), content)

    def _alive(self, number: int, content: bytes) -> bool:
        owner = json.loads(content)
        if owner["machine"] == _machine() and not _runs(owner["pid"], owner["process_started"]):
            return False
        if self._seen != (number, content):
            self._seen, self._since = (number, content), self._clock()
        return self._clock() - self._since < self._lease


def _runs(pid: int, started: float) -> bool:
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - started) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
