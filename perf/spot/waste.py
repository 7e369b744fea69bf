"""Where the GPU time that is paid for goes."""

from dataclasses import dataclass, fields

LOST_SAMPLES = 60.0  # seconds of a replica's work: answers in progress when it is lost


@dataclass(kw_only=True)
class GpuSeconds:
    """`across`: what trainings on several nodes take longer. `engines`: replicas without enough requests. `free`: what
    nothing holds, on nodes that are up."""

    paid: float = 0.0
    boots: float = 0.0
    starts: float = 0.0
    saves: float = 0.0
    lost: float = 0.0
    across: float = 0.0
    engines: float = 0.0
    work: float = 0.0

    @property
    def free(self) -> float:
        rest = (getattr(self, each.name) for each in fields(self) if each.name != "paid")
        return self.paid - sum(rest)
