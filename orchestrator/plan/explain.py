"""Why a stage is not already done: the most similar finished stage, and the fields in which the two differ."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from orchestrator import conditions, recoveries
from orchestrator.store.stage import Stage
from orchestrator.store.store import Store
from orchestrator.study.benchmarks import GradedBenchmark
from orchestrator.study.schema import Study
from orchestrator.study.settings import flatten

RecordsOfKind = Callable[[str], dict[str, dict]]  # by address


def overview(stages: list[Stage], records: dict[Stage, dict[str, Any]], store: Store) -> Iterator[str]:
    """Lines on all stages: how many are done, why others are not, each reason once, and which wait for their inputs."""
    records_of_kind = cache(store.records_of_kind)
    alike: dict[tuple[str, ...], list[str]] = defaultdict(list)
    done, waiting = Counter(stage.kind for stage in stages if stage in records), Counter[str]()
    for stage in stages:
        if stage in records:
            continue
        if all(needed in records for needed in stage.inputs.values()):
            alike[tuple(why_not_done(stage, store, records_of_kind, "  "))].append(stage.address)
        else:
            waiting[stage.kind] += 1
    if done:
        yield f"done: {_counts(done)}"
    for why, addresses in alike.items():
        yield f"not done: {', '.join(addresses)}"
        yield from why
    if waiting:
        yield f"not done, because stages that they need are not: {_counts(waiting)} (--stage explains some)"


def details(stages: list[Stage], records: dict[Stage, dict[str, Any]], store: Store) -> Iterator[str]:
    """Lines on each stage: whether it is done, why it is not, and its settings with all defaults."""
    records_of_kind = cache(store.records_of_kind)
    for stage in stages:
        if stage in records:
            when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(records[stage]["started"]))
            yield f"done: {stage.address} (run {records[stage]['run']}, {when})"
        else:
            yield f"not done: {stage.address}"
            yield from why_not_done(stage, store, records_of_kind, "  ")
        yield "  settings:"
        yield from (f"    {key}: {value}" for key, value in flatten(stage.identity["settings"]).items())


def _counts(kinds: Counter[str]) -> str:
    return ", ".join(f"{n} {kind}" for kind, n in kinds.items())


def why_not_done(stage: Stage, store: Store, records_of_kind: RecordsOfKind, indent: str = "") -> Iterator[str]:
    """Lines on a stage that is not done, field by field. A differing input is explained in turn."""
    nearest = _nearest(stage, records_of_kind(stage.kind))
    if nearest is None:
        yield f"{indent}the store has no finished stage of the kind {stage.kind}"
        return
    address, differing = nearest
    yield f"{indent}most similar: {address}, which differs in:"
    for field, (here, there) in sorted(differing.items()):
        role = field.removeprefix("inputs.")
        if field.startswith("inputs.") and role in stage.inputs:
            needed = stage.inputs[role]
            yield f"{indent}  input {role}: {needed.address}"
            if store.record(needed) is None:
                yield from why_not_done(needed, store, records_of_kind, indent + "    ")
        else:
            yield f"{indent}  {field}: {_shown(here)} here, {_shown(there)} there"


def _nearest(stage: Stage, finished: dict[str, dict]) -> tuple[str, dict[str, tuple]] | None:
    """The finished stage with the fewest differing fields; of several, one of the same name."""
    here = flatten(stage.identity)
    candidates = []
    for address, record in finished.items():
        there = flatten(record["identity"])
        fields = {f for f in here.keys() | there.keys() if here.get(f, ABSENT) != there.get(f, ABSENT)}
        same_name = address.rsplit("-", 1)[0] == stage.address.rsplit("-", 1)[0]
        differing = {f: (here.get(f, ABSENT), there.get(f, ABSENT)) for f in fields}
        candidates.append((len(fields), not same_name, address, differing))
    if not candidates:
        return None
    *_, address, differing = min(candidates, key=lambda candidate: candidate[:3])
    return address, differing


class _Absent:
    def __repr__(self) -> str:
        return "absent"


ABSENT = _Absent()


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def with_defaults(study: Study) -> dict[str, Any]:
    """A study with all defaults filled in, those of its conditions, recoveries and benchmarks included. It is the same
    study: fields that are not set are null, which may replace a value of the study."""
    settings = study.model_dump(mode="json")
    for part, options in (("conditions", conditions.options), ("recoveries", recoveries.options)):
        for name, declared in getattr(study, part).items():
            settings[part][name].update(options(name, declared).model_dump(mode="json"))
    for name, benchmark in study.benchmarks.items():
        if isinstance(benchmark, GradedBenchmark) and benchmark.answer_by == "generation":
            settings["benchmarks"][name]["max_tokens"] = benchmark.longest
    return settings
