"""Notices that this process is about to be taken away: a SIGTERM, or Ray draining its node, as before a spot instance
is reclaimed."""

import signal
import threading
from types import TracebackType

import ray

LOOK_EVERY = 5.0  # seconds between two looks at Ray's nodes


class PreemptionNotice:
    """Use it as a context around the work; `given()` turns true once there is a notice."""

    def __init__(self) -> None:
        self._given, self._over, self._told = threading.Event(), threading.Event(), False
        self._before: object = None

    def given(self) -> bool:
        return self._given.is_set()

    def obey(self) -> None:
        """End this process if it has been told to; call it once there is nothing more to save."""
        if self._told:
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
        self.obey()  # Whoever says it twice does not want to wait.
        self._told = True
        self._given.set()

    def _watch(self) -> None:
        here = ray.get_runtime_context().get_node_id()
        while not self._over.wait(LOOK_EVERY):
            # Ray has no public way to ask this; it is what Ray Train's own watcher asks.
            if here in ray._private.state.state.get_draining_nodes():
                self._given.set()
                return
