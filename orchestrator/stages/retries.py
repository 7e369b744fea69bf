"""How often a stage is tried again after a lost process, engine or node: losses with progress are not counted."""

from orchestrator.store.partial import progress
from orchestrator.store.stage import Stage
from orchestrator.store.store import Store


class Retries:
    """The retries that a stage has left. A preemption, which leaves a state, costs none."""

    def __init__(self, store: Store, stage: Stage):
        self._store, self._stage = store, stage
        self._left, self._progress = stage.runtime.retries, progress(store, stage)

    def again(self) -> bool:
        """Whether the stage may be tried again after a loss."""
        reached = progress(self._store, self._stage)
        if reached != self._progress:
            self._left, self._progress = self._stage.runtime.retries, reached
            return True
        self._left -= 1
        return self._left >= 0
