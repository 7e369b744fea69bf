"""Names in a study file that refer to other parts of it, and values that must differ."""

import re
from collections.abc import Callable, Iterator

from evaluators.benchmarks import BENCHMARKS
from orchestrator.study import provenance
from orchestrator.study.benchmarks import GradedBenchmark
from orchestrator.study.models import HubModel, OpenModel
from orchestrator.study.prompts import SYNTHETIC
from orchestrator.study.schema import Study
from orchestrator.study.settings import unknown

HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
FILES = (".jsonl", ".json", ".gguf", ".safetensors", ".bin", ".pt")


def mistakes_in(study: Study) -> Iterator[str]:
    """A line for each name that refers to nothing, `place: message`, and for each value given twice."""
    for check in CHECKS:
        yield from check(study)


def _pairs(study: Study) -> Iterator[str]:
    for role in ("student", "teacher"):
        names = dict.fromkeys(getattr(pair, role) for pair in study.pair_list)
        yield from unknown("pairs", names, study.models, "models", f"{role} ")
    for student in dict.fromkeys(pair.student for pair in study.pair_list):
        if student in study.models and not isinstance(study.models[student], OpenModel):
            yield f"pairs: {student} is behind an API: it can be a teacher, and cannot be trained"


def _conditions(study: Study) -> Iterator[str]:
    for name, condition in study.conditions.items():
        where = f"conditions.{name}"
        yield from unknown(f"{where}.pairs", condition.pairs, map(str, study.pair_list), "the study's pairs")
        yield from unknown(f"{where}.benchmarks", condition.benchmarks, study.benchmarks, "the study's benchmarks")


def _recoveries(study: Study) -> Iterator[str]:
    pairs = [str(pair) for pair in study.pair_list]
    for name, recovery in study.recoveries.items():
        where = f"recoveries.{name}"
        yield from unknown(f"{where}.pairs", recovery.pairs, pairs, "the study's pairs")
        yield from unknown(f"{where}.conditions", recovery.conditions, study.conditions, "conditions")
        for one in recovery.conditions:
            has = [str(pair) for pair in study.pairs_with(one)] if one in study.conditions else pairs
            named = [pair for pair in recovery.pairs or () if pair in pairs]
            yield from unknown(f"{where}.pairs", named, has, f"the pairs of {one}")
        if recovery.search is not None:
            named = [recovery.search.benchmark]
            yield from unknown(f"{where}.search.benchmark", named, study.benchmarks, "benchmarks")


def _measures(study: Study) -> Iterator[str]:
    for measure, taken_on in study.measures.items():
        if isinstance(taken_on, list):
            yield from unknown(f"measures.{measure}", taken_on, study.benchmarks, "benchmarks")


def _problems(study: Study) -> Iterator[str]:
    """RL problems from the data set on which a benchmark is evaluated. A run compares the rows of other sources."""
    if (problems := study.rl_problems) is None or problems.source == SYNTHETIC or problems.source.endswith(".jsonl"):
        return
    for name, benchmark in study.benchmarks.items():
        graded = BENCHMARKS.module(benchmark.kind) if isinstance(benchmark, GradedBenchmark) else None
        if problems.source == (benchmark.source or (graded and graded.HUB[0])):
            yield (
                f"rl_problems.source: {problems.source} is the source of benchmarks.{name}, so its score would be "
                f"that of training data: give other problems"
            )


def _hub_ids(study: Study) -> Iterator[str]:
    """Ids that the hub cannot have, such as paths."""
    for alias, model in study.models.items():
        if isinstance(model, HubModel) and (model.hub.endswith(FILES) or not HUB_ID.fullmatch(model.hub)):
            yield (
                f'models.{alias}: "{model.hub}" is no id of the hub, as Qwen/Qwen3-8B; write ./FOLDER for a local '
                f"checkpoint"
            )
    benchmarks = {f"benchmarks.{name}": benchmark.source for name, benchmark in study.benchmarks.items()}
    problems = study.rl_problems.source if study.rl_problems is not None else None
    for where, source in {"prompts": study.prompts.source, "rl_problems": problems, **benchmarks}.items():
        if source is not None and not source.endswith(".jsonl") and not HUB_ID.fullmatch(source):
            yield f'{where}.source: "{source}" is neither a file ending in .jsonl nor an id of the hub, as org/name'


def _slashes(study: Study) -> Iterator[str]:
    for part in ("models", "conditions", "recoveries", "benchmarks"):
        for name in getattr(study, part):
            if "/" in name:
                yield f'{part}: a name has no slash: "{name}" is written as "{name.replace("/", "-")}"'


def _prices(study: Study) -> Iterator[str]:
    remote = [alias for alias, model in study.models.items() if model.served is not None]
    yield from unknown("cost_assumptions.api", study.cost_assumptions.api, remote, "models behind an API")


def _provenance(study: Study) -> Iterator[str]:
    try:
        provenance.check(study.provenance, study.model_dump())
    except ValueError as error:
        yield str(error)


def _repetitions(study: Study) -> Iterator[str]:
    for where, values in (("pairs", [str(pair) for pair in study.pair_list]), ("seeds", study.seeds)):
        if len(set(values)) != len(values):
            yield f"{where}: the same twice in {', '.join(map(str, values))}"


CHECKS: tuple[Callable[[Study], Iterator[str]], ...] = (
    _pairs,
    _conditions,
    _recoveries,
    _measures,
    _problems,
    _hub_ids,
    _slashes,
    _prices,
    _provenance,
    _repetitions,
)
