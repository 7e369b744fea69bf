"""Leases: which process runs a stage, so that two trials, or two machines, share one execution.

A lease is a file `lease-<n>` beside the record, created only if it does not exist. Its owner rewrites it every few
seconds, a heartbeat. Another process takes over by creating `lease-<n+1>`. It does so once the file has not changed for
the length of a lease by its own clock. On the same machine it need not wait if the owner's process has ended. Of
several that try, one succeeds. Numbers of leases and of states grow together, so a number says which of two owners is
the later one.

An owner that was taken over, such as a process that was stopped and woken, finds a later lease at its next heartbeat,
or before it next writes to the stage's folder: it raises LeaseLost and writes nothing more.
"""

import contextlib
import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.store.store import Store
from trainers.process_identity import process_started, this_machine

LEASE_SECONDS = 60.0
Wait = Callable[[threading.Event, float], bool]  # waits for an event or the seconds; True if it was the event
log = logging.getLogger(__name__)


class LeaseLost(Exception):
    """Another process has taken over the stage that this process was running."""


@dataclass(frozen=True)
class LeaseId:
    """Which lease it is: numbers may return once all leases and states of a stage are gone, tokens do not."""

    number: int
    token: str

    def is_in(self, content: bytes | None) -> bool:
        """Whether a lease's file is of this lease."""
        return content is not None and self.token.encode() in content


class Lease:
    """A lease that this process holds until `release`, until the process ends, or until another one takes over.

    `on_loss` is called, in the thread of the heartbeats, when another process has taken over.
    """

    def __init__(self, store: Store, address: str, name: str, number: int, seconds: float, wait: Wait):
        self.number, self.id = number, LeaseId(number, uuid.uuid4().hex)
        self.on_loss: Callable[[], None] = lambda: None
        self._store, self._address, self._name, self._seconds, self._wait = store, address, name, seconds, wait
        self._owner = {
            "machine": this_machine(),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "process_started": process_started(os.getpid()),
            "token": self.id.token,  # makes the content unique, as `Store.create` needs
        }
        self._released = threading.Event()
        self._writing = threading.Lock()  # A heartbeat must not write the file of a released lease again.
        store.create(self._path, self._content(0))
        threading.Thread(target=self._beat, daemon=True).start()

    @property
    def _path(self) -> str:
        return f"{self._address}/{self._name}-{self.number}"

    def _content(self, beat: int) -> bytes:
        return json.dumps({**self._owner, "beat": beat}).encode()

    def _beat(self) -> None:
        beat = 0
        while not self._wait(self._released, self._seconds / 6):
            beat += 1
            try:
                with self._writing:
                    if not self._released.is_set():
                        check_held(self._store, self._address, self.id, self._name)
                        self._store.overwrite(self._path, self._content(beat))
            except LeaseLost as lost:
                log.warning("%s", lost)
                self.on_loss()
                return
            except Exception as error:  # noqa: BLE001  # A lease is several heartbeats long.
                log.warning("%s: no heartbeat: %s", self._path, error)

    def release(self) -> None:
        """Release the lease. Call it after the record is written, or after the stage has failed."""
        with self._writing:
            self._released.set()
        try:
            if self.id.is_in(self._store.read(self._path)):  # It may be another lease with the same number.
                self._store.remove(self._path)
        except Exception as error:  # noqa: BLE001  # It ends by itself, as without heartbeats.
            log.warning("%s: cannot be released: %s", self._path, error)


class LeaseRequest:
    """A request for the lease of the stage at `address`; it remembers since when the present lease is unchanged.

    `ended` is the content of a lease that has ended, as found by this request or by another one before it.
    """

    def __init__(
        self,
        store: Store,
        address: str,
        seconds: float = LEASE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        wait: Wait = threading.Event.wait,
        *,
        name: str = "lease",
        ended: bytes | None = None,
    ):
        self.ended = ended
        self._store, self._address, self._name, self._seconds = store, address, name, seconds
        self._clock, self._wait = clock, wait
        self._seen: bytes | None = None
        self._since = 0.0

    def attempt(self) -> Lease | None:
        """The lease, or None while another process holds it."""
        names = self._store.names(self._address)
        present = _numbers(names, self._name)
        if present and self._alive(max(present)):
            return None
        # After a release no lease is left, but its states may be.
        number = 1 + max(present + _numbers(names, "state"), default=0)
        try:
            lease = Lease(self._store, self._address, self._name, number, self._seconds, self._wait)
        except FileExistsError:
            return None
        for earlier in present:  # Their owners see that theirs is gone, even after this one is released.
            with contextlib.suppress(OSError):
                self._store.remove(f"{self._address}/{self._name}-{earlier}")
        return lease

    def held(self) -> bool:
        """Whether another process holds the lease."""
        present = _numbers(self._store.names(self._address), self._name)
        return bool(present) and self._alive(max(present))

    def _alive(self, number: int) -> bool:
        content = self._store.read(f"{self._address}/{self._name}-{number}")
        if content is None:
            return False
        if self._seen != content:
            self._seen, self._since = content, self._clock()
        if content == self.ended or _ended_here(content) or self._clock() - self._since >= self._seconds:
            self.ended = content
            return False
        return True


def check_held(store: Store, address: str, lease: LeaseId, name: str = "lease") -> None:
    """Raise LeaseLost unless this lease is still there, and the last one."""
    present = _numbers(store.names(address), name)
    is_last = max(present, default=0) == lease.number
    if not is_last or not lease.is_in(store.read(f"{address}/{name}-{lease.number}")):
        raise LeaseLost(f"{address}: another process has taken over, so this one ({os.getpid()}) ends its attempt")


def _numbers(names: list[str], name: str) -> list[int]:
    """The first number in each of these names that begins with `name-`."""
    return [int(one.removeprefix(f"{name}-").partition("-")[0]) for one in names if one.startswith(f"{name}-")]


def _ended_here(content: bytes) -> bool:
    """Whether the owner was a process of this machine that has ended. A torn lease may be anybody's."""
    try:
        owner = json.loads(content)
        machine, pid, started = owner["machine"], owner["pid"], owner["process_started"]
    except (ValueError, TypeError, KeyError):
        return False
    return machine == this_machine() and process_started(pid) != started
