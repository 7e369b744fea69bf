"""How long a run will still take, from what its stages are expected to take and what they have taken so far."""

from collections import Counter
from collections.abc import Mapping

from orchestrator.plan.work import Expected

ENOUGH = 0.02  # of a running stage, from which its time can be told


class Pace:
    def __init__(self, expected: Mapping[str, Expected]):
        self._left = dict(expected)
        self._assumed: Counter[tuple[str, str]] = Counter()
        self._took: Counter[tuple[str, str]] = Counter()

    def finish(self, address: str, seconds: float) -> None:
        """A stage has taken these seconds."""
        stage = self._left.pop(address, None)
        if stage is not None:
            self._assumed[stage.group] += stage.seconds  # type: ignore[assignment]
            self._took[stage.group] += seconds  # type: ignore[assignment]

    def drop(self, address: str) -> None:
        """A stage has failed."""
        self._left.pop(address, None)

    def remaining(self, elapsed: float, running: Mapping[str, tuple[float, float | None]]) -> float | None:
        """The seconds that are left after `elapsed` seconds of the run, or None if too little is known.

        `running`: for how long each running stage has run, and what share of it is done.
        """
        took, assumed = self._took.copy(), self._assumed.copy()
        for address, (seconds, share) in running.items():
            if address in self._left and share is not None and share >= ENOUGH:
                stage = self._left[address]
                took[stage.group] += seconds  # type: ignore[assignment]
                assumed[stage.group] += stage.seconds * share  # type: ignore[assignment]
        ahead = 0.0
        for address, stage in self._left.items():
            speed = took[stage.group] / assumed[stage.group] if assumed[stage.group] else stage.speed
            if speed is None:
                return None
            seconds, share = running.get(address, (0.0, 0.0))
            whole = stage.seconds * speed
            ahead += max(0.0, whole - seconds) if share is None else whole * (1 - share)
        # Stages run at the same time, and engines start: what has run so far says how much of the time counts.
        worked = sum(self._took.values()) + sum(seconds for seconds, _ in running.values())
        return ahead * elapsed / worked if worked else None
