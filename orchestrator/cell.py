"""A cell of a study's grid (one pair, one seed), and the stages that conditions and recoveries are built from."""

from collections.abc import Callable
from dataclasses import dataclass, field

from orchestrator.nearest import did_you_mean
from orchestrator.stage import Stage
from orchestrator.stages import evaluate, likelihood, model, sample, train
from orchestrator.study import Schedule, Study

DRAWN = {"temperature": 1.0, "top_p": 1.0, "samples": 1, "score": "mean", "answer_by": "generation"}


@dataclass(frozen=True)
class Prefill:
    """Every answer begins with that of the model `of`, an alias of the study, to the same example: its first `tokens`,
    or all up to and with the text `until`."""

    of: str
    tokens: int | None
    until: str | None


@dataclass(frozen=True)
class Arm:
    """What a condition makes of a cell: the student that it trains (None: the original one), and how it is asked.

    `benchmarks` are all by default.
    """

    student: Stage | None
    benchmarks: tuple[str, ...] | None = None
    prefill: Prefill | None = None


@dataclass(frozen=True)
class Cell:
    """One student-teacher pair with one seed. `made` holds the stages that are the same for every cell of a study."""

    study: Study
    student: str
    teacher: str
    seed: int
    made: dict[tuple, Stage] = field(default_factory=dict, repr=False, compare=False)

    def model(self, alias: str) -> Stage:
        """The checkpoint of a model of the study. Raises ValueError for an alias that it does not know."""
        if alias not in self.study.models:
            raise ValueError(f'"{alias}" is not among the study\'s models; {did_you_mean(alias, self.study.models)}')
        cpus = self.study.resources.train.cpus
        return self._once(("model", alias), lambda: model.stage(alias, self.study.models[alias], cpus))

    def answers_of(self, alias: str) -> Stage:
        """A model's answers to the training prompts; the same for every cell."""
        return self._once(("answers", alias), lambda: sample.of_prompts(self.model(alias), self.study))

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

    def score(self, benchmark: str, student: Stage | None, prefill: Prefill | None = None) -> Stage:
        """A student (None: the original one) asked a benchmark, and graded."""
        if student is None and prefill is None:
            return self.score_as_is(self.student, benchmark)
        opening = None
        if prefill is not None:
            opening = sample.Opening(self._asked_as_is(prefill.of, benchmark), prefill.tokens, prefill.until)
        asked = self.study.benchmarks[benchmark]
        answers = sample.of_benchmark(benchmark, asked, self.study, self.model(self.student), student, opening)
        return evaluate.stage(benchmark, self.study, answers)

    def score_as_is(self, alias: str, benchmark: str) -> Stage:
        """A model of the study, untouched, asked a benchmark, and graded; the same for every cell."""
        answers = self._asked_as_is(alias, benchmark)
        return self._once(("score", alias, benchmark), lambda: evaluate.stage(benchmark, self.study, answers))

    def _asked_as_is(self, alias: str, benchmark: str) -> Stage:
        if benchmark not in self.study.benchmarks:
            raise ValueError(
                f'"{benchmark}" is not among the study\'s benchmarks; {did_you_mean(benchmark, self.study.benchmarks)}'
            )
        return self._once(
            ("asked", alias, benchmark),
            lambda: sample.of_benchmark(
                benchmark, self.study.benchmarks[benchmark], self.study, self.model(alias), None
            ),
        )

    def surprise(self, data: Stage) -> Stage:
        """How likely the original student finds the answers of a sample."""
        student = self.model(self.student)
        key = ("surprise", self.student, data)
        return self._once(key, lambda: likelihood.stage(self.study, student, None, data, by_ids=False))

    def divergence(self, benchmark: str, student: Stage) -> tuple[Stage, Stage]:
        """How likely a student, and the original one, find what that student answers to a benchmark's prompts when it
        draws its answers as they are likely."""
        asked = self.study.benchmarks[benchmark].model_copy(update=DRAWN)
        model = self.model(self.student)
        drawn = sample.of_benchmark(benchmark, asked, self.study, model, student)
        ours = likelihood.stage(self.study, model, student, drawn, by_ids=True)
        return ours, likelihood.stage(self.study, model, None, drawn, by_ids=True)

    def _once(self, key: tuple, make: Callable[[], Stage]) -> Stage:
        if key not in self.made:
            self.made[key] = make()
        return self.made[key]
