"""Names in a study file that refer to other parts of it, and values that must differ."""

import re
from collections.abc import Callable, Iterator

from evaluators.benchmarks import BENCHMARKS
from evaluators.messages import listed
from evaluators.rows import FILES, is_file
from orchestrator.study import provenance
from orchestrator.study.benchmarks import GradedBenchmark
from orchestrator.study.models import HubModel, OpenModel, OrganismModel, RemoteModel, TrainedModel
from orchestrator.study.prompts import SYNTHETIC
from orchestrator.study.schema import Study
from orchestrator.study.settings import unknown

HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
NO_FOLDERS = (*FILES, ".json", ".gguf", ".safetensors", ".bin", ".pt")  # endings of files, which no model id has


def mistakes_in(study: Study) -> Iterator[str]:
    """A line for each name that refers to nothing, `place: message`, and for each value given twice."""
    for check in CHECKS:
        yield from check(study)


def _pairs(study: Study) -> Iterator[str]:
    for name in study.data.keys() & study.models.keys():
        yield f"data: {name} is also a key of models: give it another name"
    teachers = dict.fromkeys(pair.teacher for pair in study.pair_list)
    yield from unknown("pairs", teachers, [*study.models, *study.data], "models and data", "teacher ")
    students = dict.fromkeys(pair.student for pair in study.pair_list)
    yield from unknown("pairs", students, study.models, "models", "student ")
    for student in dict.fromkeys(pair.student for pair in study.pair_list):
        if student in study.models and not isinstance(study.models[student], OpenModel):
            yield f"pairs: {student} is behind an API: it can be a teacher, and cannot be trained"


def _trained(study: Study) -> Iterator[str]:
    """Models that the study trains: what they are trained from and on, and that none is trained from itself."""
    trained = {alias: model for alias, model in study.models.items() if isinstance(model, TrainedModel)}
    for alias, model in trained.items():
        where = f"models.{alias}"
        yield from unknown(f"{where}.trained_from", [model.trained_from], study.models, "models")
        yield from unknown(f"{where}.data", [model.data], study.data, "data")
        if not isinstance(study.models.get(model.trained_from, model), OpenModel):
            yield f"{where}.trained_from: {model.trained_from} is behind an API, so it cannot be trained"
        before, seen = model.trained_from, {alias}
        while before in trained and before not in seen:
            seen.add(before)
            before = trained[before].trained_from
        if before == alias:
            yield f"{where}.trained_from: it would be trained from itself"


def _prompts(study: Study) -> Iterator[str]:
    """Prompts of a data set, whose fields are given with it."""
    source = study.prompts.source
    if source in study.data:
        declared = type(study.prompts).model_fields
        for key in (one for one in declared if one != "source"):
            if getattr(study.prompts, key) == declared[key].default:
                continue
            yield f"prompts.{key} has no effect on the prompts of data.{source}: give it there, if it has such a field"
        if study.data[source].text is not None:
            yield f"prompts.source: data.{source} is plain text, which has no prompts"


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
    if (problems := study.rl_problems) is None or problems.source == SYNTHETIC or is_file(problems.source):
        return
    for name, benchmark in study.benchmarks.items():
        graded = BENCHMARKS.module(benchmark.kind) if isinstance(benchmark, GradedBenchmark) else None
        if graded and graded.TRAIN and problems.kind == benchmark.kind and problems.source == graded.HUB[0]:
            continue  # The problems are of a split of their own.
        parts = {problems.part, getattr(benchmark, "part", None)}
        if None not in parts and len(parts) == 2:
            continue  # Parts do not overlap.
        if problems.source == (benchmark.source or (graded and graded.HUB[0])):
            yield (
                f"rl_problems.source: {problems.source} is the source of benchmarks.{name}, so its score would be "
                f"that of training data: give other problems"
            )


def _hub_ids(study: Study) -> Iterator[str]:
    """Ids that the hub cannot have, such as paths."""
    for alias, model in study.models.items():
        if isinstance(model, HubModel) and (model.hub.endswith(NO_FOLDERS) or not HUB_ID.fullmatch(model.hub)):
            yield (
                f'models.{alias}: "{model.hub}" is no id of the hub, as Qwen/Qwen3-8B; write ./FOLDER for a local '
                f"checkpoint, and gguf: FILE for a GGUF file"
            )
    sources = {f"data.{name}": one.source for name, one in study.data.items()}
    sources |= {f"benchmarks.{name}": one.source for name, one in study.benchmarks.items() if one.source is not None}
    if study.rl_problems is not None:
        sources["rl_problems"] = study.rl_problems.source
    if study.prompts.source not in study.data:
        sources["prompts"] = study.prompts.source
    for where, source in sources.items():
        if not is_file(source) and not HUB_ID.fullmatch(source):
            yield (
                f'{where}.source: "{source}" is neither a file ending in {listed(list(FILES))} nor an id of the hub, '
                f"as org/name"
            )


def _slashes(study: Study) -> Iterator[str]:
    for part in ("models", "data", "conditions", "recoveries", "benchmarks"):
        for name in getattr(study, part):
            if "/" in name:
                yield f'{part}: a name has no slash: "{name}" is written as "{name.replace("/", "-")}"'


def _prices(study: Study) -> Iterator[str]:
    remote = [alias for alias, model in study.models.items() if model.served is not None]
    yield from unknown("cost_assumptions.api", study.cost_assumptions.api, remote, "models behind an API")
    for alias, model in study.models.items():
        if isinstance(model, RemoteModel) and model.max_cost and alias not in study.cost_assumptions.api:
            yield (
                f"models.{alias}.max_cost: give cost_assumptions.api.{alias} a price, as {{input: 0.5, output: 1.5}} "
                f"in US dollars per million tokens, from which the cost is counted"
            )


def _engines(study: Study) -> Iterator[str]:
    own = [alias for alias, model in study.models.items() if not isinstance(model, TrainedModel | OrganismModel)]
    for alias in study.resources.engines:
        model = study.models.get(alias)
        if isinstance(model, TrainedModel):
            yield f"resources.engines.{alias}: {alias} runs on the engine of {model.trained_from}: set that one's"
        elif isinstance(model, OrganismModel):
            yield f"resources.engines.{alias}: all toy models share one engine, which is resources.engine"
    given = [alias for alias in study.resources.engines if alias not in study.models]
    yield from unknown("resources.engines", given, own, "models with an engine")


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
    _trained,
    _prompts,
    _conditions,
    _recoveries,
    _measures,
    _problems,
    _hub_ids,
    _slashes,
    _prices,
    _engines,
    _provenance,
    _repetitions,
)
