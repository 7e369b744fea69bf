"""A cell of a study's grid (one pair, one seed), and the stages that conditions and recoveries are built from."""

from collections.abc import Callable
from dataclasses import dataclass, field

from orchestrator.nearest import did_you_mean
from orchestrator.stage import Stage
from orchestrator.stages import evaluate, model, sample, train
from orchestrator.study import Schedule, Study


@dataclass(frozen=True)
class Opening:
    """Every answer begins with the first `tokens` of another student's answer to the same example; `of=None` is the
    original student."""

    of: Stage | None
    tokens: int


@dataclass(frozen=True)
class Arm:
    """What a condition makes of a cell: the student that it trains (None: the original one), and how it is asked.

    `benchmarks` are all by default.
    """

    student: Stage | None
    benchmarks: tuple[str, ...] | None = None
    opening: Opening | None = None


@dataclass(frozen=True)
class Cell:
    """One student-teacher pair with one seed. `made` holds the stages that are the same for every cell of a study."""

    study: Study
    student: str
    teacher: str
    seed: int
    made: dict[tuple, Stage] = field(default_factory=dict, repr=False, compare=False)

    def model(self, alias: str) -> Stage:
        """The checkpoint of a model of the study."""
        cpus = self.study.resources.train.cpus
        return self._once(("model", alias), lambda: model.stage(alias, self.study.models[alias], cpus))

    def answers_of(self, alias: str) -> Stage:
        """A model's answers to the training prompts; the same for every cell."""
        return self._once(("answers", alias), lambda: sample.stage(self.model(alias), self.study))

    def sft(
        self, data: Stage, start: Stage | None = None, rows: int | None = None, schedule: Schedule | None = None
    ) -> Stage:
        """The student trained on `data` (`rows` of it, drawn by the seed), from its original weights or `start`."""
        return train.stage(
            self.study,
            base=self.model(self.student),
            data=data,
            start=start,
            rows=rows,
            schedule=schedule or self.study.train,
            seed=self.seed,
        )

    def score(self, benchmark: str, student: Stage | None, opening: Opening | None = None) -> Stage:
        """A student (None: the original one) asked a benchmark."""
        if student is None and opening is None:
            return self.score_as_is(self.student, benchmark)
        begun = None if opening is None else (self.score(benchmark, opening.of), opening.tokens)
        return evaluate.stage(benchmark, self.study, self.model(self.student), student, begun)

    def score_as_is(self, alias: str, benchmark: str) -> Stage:
        """A model of the study, untouched, asked a benchmark; the same for every cell."""
        if benchmark not in self.study.benchmarks:
            raise ValueError(
                f'"{benchmark}" is not among the study\'s benchmarks; {did_you_mean(benchmark, self.study.benchmarks)}'
            )
        return self._once(
            ("score", alias, benchmark),
            lambda: evaluate.stage(benchmark, self.study, self.model(alias), None, None),
        )

    def _once(self, key: tuple, make: Callable[[], Stage]) -> Stage:
        if key not in self.made:
            self.made[key] = make()
        return self.made[key]
