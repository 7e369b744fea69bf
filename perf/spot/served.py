"""An engine in simulated time. Its jobs share the ready replicas, in proportion to the replicas that each fills.

So all of them get the same share of what they could use, and finish in the order of the time that they would need with
all of it. `clock` counts that time.
"""

from dataclasses import dataclass, field

from orchestrator.run.allocation import Amount


@dataclass(kw_only=True, eq=False)
class Replica:
    engine: str
    place: int | None = None
    placed: float = 0.0
    ready: bool = False


@dataclass(kw_only=True)
class Served:
    """`ends`: the clock at which each job is done. `parts`: how many replicas each fills."""

    needs: Amount
    start_seconds: float
    replicas: list[Replica] = field(default_factory=list)
    ends: dict[str, float] = field(default_factory=dict)
    parts: dict[str, int] = field(default_factory=dict)
    clock: float = 0.0
    since: float = 0.0
    ready: int = 0
    wanted: int = 0  # replicas that all jobs together fill

    @property
    def share(self) -> float:
        return min(1.0, self.ready / self.wanted) if self.wanted else 0.0

    def add(self, key: str, seconds: float, parts: int) -> None:
        """Begin a job with this work, in seconds of one replica."""
        self.ends[key], self.parts[key] = self.clock + seconds / parts, parts
        self.wanted += parts

    def remove(self, key: str) -> None:
        del self.ends[key]
        self.wanted -= self.parts.pop(key)

    def advance(self, now: float) -> float:
        """Go on until now; returns the seconds that replicas were ready and had nothing to do."""
        seconds, self.since, share = now - self.since, now, self.share
        self.clock += seconds * share
        return (self.ready - self.wanted * share) * seconds

    def lose(self, seconds: float) -> float:
        """Lose as much work of one replica; returns how much there was to lose."""
        if not self.wanted:
            return 0.0
        seconds *= self.wanted * self.share / self.ready
        self.clock -= seconds / self.wanted
        return seconds

    @property
    def next_end(self) -> float:
        share = self.share
        return self.since + max(0.0, min(self.ends.values()) - self.clock) / share if share else float("inf")

    @property
    def ended(self) -> list[str]:
        return [key for key, end in self.ends.items() if end - self.clock < 1e-6]
