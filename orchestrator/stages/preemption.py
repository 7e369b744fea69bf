"""Notice of preemption: a SIGTERM, or Ray draining this node, as before a spot instance is reclaimed."""

import signal
import threading
from collections.abc import Callable
from types import TracebackType

import ray

POLL_SECONDS = 5.0  # between two looks at Ray's nodes


class PreemptionNotice:
    """A context manager around the work; `requested()` turns true when the process is about to be preempted."""

    def __init__(self, wait: Callable[[threading.Event, float], bool] = threading.Event.wait) -> None:
        self._wait = wait
        self._requested, self._over, self._signalled = threading.Event(), threading.Event(), False
        self._before: object = None

    def requested(self) -> bool:
        return self._requested.is_set()

    def exit_if_requested(self) -> None:
        """End this process if it got a SIGTERM. Call it once the state is saved."""
        if self._signalled:
            raise SystemExit(143)

    def __enter__(self) -> "PreemptionNotice":
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._on_signal)
        if ray.is_initialized():
            threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)  # type: ignore[arg-type]

    def _on_signal(self, *_: object) -> None:
        self.exit_if_requested()  # A second SIGTERM ends the process at once.
        self._signalled = True
        self._requested.set()

    def _watch(self) -> None:
        here = ray.get_runtime_context().get_node_id()
        while not self._wait(self._over, POLL_SECONDS):
            # Ray has no public API for this; Ray Train's own watcher calls the same function.
            if here in ray._private.state.state.get_draining_nodes():
                self._requested.set()
                return
