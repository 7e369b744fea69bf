"""What `offmodel plan` does not check, since it needs the network, keys or the machines of the run."""

from collections.abc import Iterable, Iterator

from evaluators.benchmarks import BENCHMARKS
from orchestrator.plan.files import needs_no_network
from orchestrator.store.stage import Stage
from orchestrator.study.load import without_secrets
from orchestrator.study.models import HubModel
from orchestrator.study.schema import Study


def unchecked(pending: Iterable[Stage], study: Study) -> Iterator[str]:
    """A line for what a run of these stages checks before any work, and one for what only its stages show."""
    pending = list(pending)
    engines = {stage.runtime.engine for stage in pending}
    left = {alias: model for alias, model in study.models.items() if alias in engines}
    names = {name for stage in pending if (name := getattr(stage.runtime, "benchmark", None)) is not None}
    hub = [model.hub for model in left.values() if isinstance(model, HubModel)]
    remote = [alias for alias, model in left.items() if model.served is not None]
    tasks = [study.benchmarks[name].kind for name in names if study.benchmarks[name].task is not None]
    tracker = [] if study.tracking.uri is None or not pending else [without_secrets(study.tracking.uri)]
    before = {"rows and columns of": _sources(pending, study), "whether the hub has": hub, "API keys of": remote}
    later = {"data of": tasks, "answers of": remote, "whether all prompts fit the context of": hub}
    for what, found in (
        ("Not checked yet, but before the run starts", before | {"MLflow at": tracker}),
        ("Not checked before a stage needs it", later),
    ):
        parts = [f"{part} {', '.join(sorted(set(each)))}" for part, each in found.items() if each]
        if parts:
            yield f"{what}: {'; '.join(parts)}."


def _sources(pending: Iterable[Stage], study: Study) -> list[str]:
    """Where the rows are that pending stages read, and `plan` does not."""
    found = []
    for stage in pending:
        location, name = (getattr(stage.runtime, key, None) for key in ("location", "benchmark"))
        if name is not None and location is None and study.benchmarks[name].task is None:
            location = BENCHMARKS.module(study.benchmarks[name].kind).HUB[0]
        named = "prompts" in stage.inputs  # The location is a name of `data`, whose stage has its source.
        if location is not None and not named and not needs_no_network(location):
            found.append(location)
    return found
