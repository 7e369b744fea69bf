"""The work of stages in seconds of one GPU: by the study's assumptions, and corrected by what is measured.

Each stage that samples, trains or computes log-probabilities has work. Where stages of a model are done, their times
say how much slower or faster than assumed it is here. Other stages, as gradings, are not counted.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from orchestrator.plan.workload import asked_of, rows_in, steps_of
from orchestrator.store.stage import Stage
from orchestrator.study.cost_assumptions import FORWARD_FLOP, FULL_FLOP, LORA_FLOP
from orchestrator.study.models import OpenModel
from orchestrator.study.schema import Study

Kind = Literal["sampling", "training", "log-probabilities"]
BILLION = 1e9


@dataclass(frozen=True, kw_only=True)
class Work:
    """`seconds` are those of one GPU by assumption, for a model of 1e9 parameters if its size is not declared."""

    kind: Kind
    model: str
    seconds: float
    sized: bool

    @property
    def place(self) -> str:
        """Where it is done. All work of an engine shares its time."""
        return "training" if self.kind == "training" else "engine"


# By (model, place), how many times as long as assumed the work takes; a model of None stands for all
Speeds = Mapping[tuple[str | None, str], float]


def work_of(stage: Stage, study: Study) -> list[Work]:
    """The parts of a stage's work on models that run here."""
    alias = stage.runtime.engine
    model = study.models.get(alias)
    if alias is None or stage.kind not in ("sample", "train", "logprobs") or (model is not None and model.served):
        return []
    parameters = model.parameters if isinstance(model, OpenModel) else None
    prices, size = study.cost_assumptions, parameters or BILLION
    flop = _flop_a_parameter(stage, study) * size
    seconds: dict[Kind, float] = {
        "sampling": sampled_tokens(stage, study) * size / BILLION / prices.sampling_speed,
        "training" if stage.kind == "train" else "log-probabilities": (
            flop / (prices.peak_tflops * 1e12 * prices.training_mfu)
        ),
    }
    sized = parameters is not None
    return [Work(kind=kind, model=alias, seconds=each, sized=sized) for kind, each in seconds.items() if each]


def sampled_tokens(stage: Stage, study: Study) -> float:
    completions, longest = asked_of(stage, study)
    return completions * max(1.0, longest * study.cost_assumptions.answer_share) if longest else 0.0


def _flop_a_parameter(stage: Stage, study: Study) -> float:
    if stage.kind == "logprobs":
        data = stage.inputs["data"]
        longest = asked_of(data, study)[1] if data.kind == "sample" else study.sampling.max_tokens
        return FORWARD_FLOP * rows_in(data, study) * _row(longest, study)
    if stage.kind != "train" or stage.runtime.published_by is not None:
        return 0.0
    each, settings = LORA_FLOP if stage.settings.leaves_adapter else FULL_FLOP, stage.settings.train
    rows, longest = asked_of(stage, study)
    if not rows:
        rows, longest = steps_of(stage, study) * settings.batch_size, study.sampling.max_tokens
    return each * rows * min(settings.max_length, _row(longest, study))


def _row(longest: int, study: Study) -> float:
    return study.cost_assumptions.prompt_tokens + longest * study.cost_assumptions.answer_share


def measured_speeds(records: Mapping[Stage, Mapping[str, Any]], study: Study) -> Speeds:
    """How long the work of finished stages took, as a multiple of what is assumed.

    The requests of several stages share an engine's time, so that the time in which any of them ran counts. GPUs are
    those that the study gives to an engine, with all its replicas, and to a training.
    """
    assumed: dict[tuple[str | None, str], float] = defaultdict(float)
    took: dict[tuple[str | None, str], float] = defaultdict(float)
    intervals: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for stage, record in records.items():
        for place, (model, seconds) in seconds_by_place(work_of(stage, study)).items():
            assumed[model, place] += seconds
            if place == "training":
                took[model, place] += record["seconds"] * gpus_of(stage, study)
            else:
                intervals[model].append((record["started"], record["started"] + record["seconds"]))
    for model, each in intervals.items():
        engine = study.resources.of_engine(model)
        took[model, "engine"] = covered(each) * max(1, engine.gpus) * engine.replicas
    for key, seconds in list(took.items()):
        assumed[None, key[1]] += assumed[key]
        took[None, key[1]] += seconds
    return {key: seconds / assumed[key] for key, seconds in took.items() if seconds and assumed[key]}


def seconds_by_place(works: Iterable[Work]) -> dict[str, tuple[str, float]]:
    """The model and the assumed seconds of a stage's work at each place. A training that samples is one work."""
    works = list(works)
    trains = any(work.place == "training" for work in works)
    found: dict[str, tuple[str, float]] = {}
    for work in works:
        place = "training" if trains else work.place
        _, seconds = found.get(place, (work.model, 0.0))
        found[place] = work.model, seconds + work.seconds
    return found


def covered(intervals: Iterable[tuple[float, float]]) -> float:
    """The seconds in at least one interval (start, end)."""
    total, until = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total


def speed(speeds: Speeds, model: str, place: str) -> float | None:
    """That of the model, or else of all models together; None if nothing is measured."""
    return speeds.get((model, place), speeds.get((None, place)))


def gpus_of(stage: Stage, study: Study) -> int:
    """How many GPUs, or else processes, a stage's work uses at once. A share of a GPU counts as one."""
    if stage.kind == "train":
        return max(1, round(stage.runtime.total[1]))
    return max(1, study.resources.of_engine(stage.runtime.engine).gpus)


def hours_of(stages: Iterable[Stage], study: Study, speeds: Speeds) -> Iterator[tuple[Stage, Work, float]]:
    """The hours of one GPU that each part of these stages' work takes."""
    for stage in stages:
        works = work_of(stage, study)
        trains = any(work.place == "training" for work in works)
        for work in works:
            factor = speed(speeds, work.model, "training" if trains else work.place)
            yield stage, work, work.seconds * (1.0 if factor is None else factor) / 3600


@dataclass(frozen=True, kw_only=True)
class Expected:
    """The seconds that a stage is expected to take, relative to those of other stages of its `group`. `speed`: how many
    times as long it takes, as far as it is known."""

    group: tuple[str, str]
    seconds: float
    speed: float | None


def expected_of(pending: Iterable[Stage], study: Study, speeds: Speeds) -> dict[str, Expected]:
    """What each stage takes, by address. Stages without work on a model are compared by their kind."""
    found = {}
    for stage in pending:
        works = seconds_by_place(work_of(stage, study))
        if works:
            ((place, (model, seconds)),) = works.items()
            known = speed(speeds, model, place)
            found[stage.address] = Expected(group=(place, model), seconds=seconds / gpus_of(stage, study), speed=known)
        else:
            found[stage.address] = Expected(group=(stage.kind, ""), seconds=1.0, speed=1.0)
    return found
