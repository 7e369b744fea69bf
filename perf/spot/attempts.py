"""One attempt at a training in simulated time: when it ends, and what is left of it at a moment."""

from dataclasses import dataclass

from perf.spot.jobs import Job

ACROSS_NODES = 2.0  # times as long on several nodes, which exchange all weights over the network


@dataclass(kw_only=True)
class Attempt:
    """Begins at `began` with `left` seconds of work, and saves its state after each `every` seconds of training."""

    job: Job
    began: float
    left: float
    every: float
    nodes: int
    kept: float = 0.0  # seconds of work that a notice of preemption has saved

    @property
    def slow(self) -> float:
        return ACROSS_NODES if self.nodes > 1 else 1.0

    @property
    def end(self) -> float:
        training = self.left * self.slow
        saves = max(0, int(training / self.every - 1e-9))
        return self.began + self.job.start_seconds + training + saves * self.job.save_seconds

    def done(self, now: float) -> tuple[float, float, float, float]:
        """Seconds until now: of the start, of training, of saves, and of the training that is saved."""
        since = now - self.began
        start = min(since, self.job.start_seconds)
        cycle = self.every + self.job.save_seconds
        whole = int((since - start) / cycle + 1e-9)
        rest = since - start - whole * cycle
        training = whole * self.every + min(rest, self.every)
        saves = whole * self.job.save_seconds + max(0.0, rest - self.every)
        return start, training, saves, whole * self.every

    def notice(self, now: float, seconds: float) -> None:
        """Save the state, if that takes no longer than these seconds."""
        if self.job.save_seconds <= seconds:
            self.kept = self.done(now)[1] / self.slow

    def saved(self, now: float) -> float:
        """Seconds of work that a later attempt need not do."""
        return min(self.left, max(self.kept, self.done(now)[3] / self.slow))
