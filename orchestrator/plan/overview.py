"""What `offmodel plan` prints: GPUs, stages, examples and costs of a run before it starts."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from evaluators.benchmarks import BENCHMARKS
from orchestrator.plan.cluster import on_cluster
from orchestrator.plan.duration import expected
from orchestrator.plan.gpu_hours import gpu_hours_of, lines
from orchestrator.plan.resources import Needs, counted, needs_of
from orchestrator.plan.state import State
from orchestrator.plan.trial import Plan
from orchestrator.plan.work import measured_speeds
from orchestrator.plan.workload import cost_of, examples_of, most_to_run, stages_per_experiment, steps_of
from orchestrator.stages.train import RLProblems
from orchestrator.stages.transform import origin
from orchestrator.store.stage import Stage
from orchestrator.study.benchmarks import GradedBenchmark
from orchestrator.study.load import without_secrets
from orchestrator.study.models import GGUFModel, HubModel, LocalModel
from orchestrator.study.schema import Study
from orchestrator.study.train import OF_LORA

COLUMNS = ("without sharing", "distinct", "done", "to run", "completions", "tokens at most")


def show_plan(
    console: Console,
    plan: Plan,
    state: State,
    verbose: bool,
    on_files: Iterable[str] = (),
    cluster: Path | None = None,
) -> None:
    """Print what a run of this plan will do, with notes on its files; `cluster` is the file of one that it may run on.
    Raises ValueError for rows of local files that cannot be read, and for a cluster's file that is none."""
    study = plan.study
    pending = [stage for stage in plan.stages if stage not in state.records]
    costs = gpu_hours_of(pending, study, measured_speeds(state.records, study))
    console.print(
        f"[bold]{study.name}[/bold]: {len(plan.trials)} trials, {len(plan.trials) - len(state.pending)} done; "
        f"results in {escape(_shown(study.store))}"
    )
    lead = [gpus_at_once(needs_of(pending, study)), *expected(pending, study, costs)]
    if cluster is not None:
        lead += on_cluster(cluster, pending, study, costs)
    for line in lead:
        console.print(line, markup=False, soft_wrap=True)
    console.print(_table(plan, state, pending))
    notes = [
        _examples(study),
        *on_files,
        *dict.fromkeys(f"Note: {one}." for one in state.short),
        *dict.fromkeys(_short_rows(pending)),
        *_trainings(pending, study),
        *_notes(plan),
        *_recorded(plan),
        *_not_always_measured(study),
        *_without_benefit(pending, study),
    ]
    if study.hypotheses:
        experiments, apart, together = stages_per_experiment(plan)
        if experiments > 1:
            notes.append(
                f"Shared stages: the hypotheses of the {experiments} experiments need {apart} stages if each is a "
                f"study of its own, and {together} together ({1 - together / apart:.0%} fewer). In the table, "
                f"without sharing is for each trial alone."
            )
    searched = [name for name, recovery in study.recoveries.items() if recovery.search is not None]
    if searched:
        most = most_to_run(plan, state.records)
        notes.append(f"Bisection ({', '.join(searched)}): at most {most} stages will run.")
    for note in [*notes, *lines(costs, study, verbose)]:
        console.print(note, markup=False, soft_wrap=True)


def _shown(store: str) -> str:
    return os.path.relpath(store) if store.startswith(f"{os.getcwd()}/") else without_secrets(store)


def _table(plan: Plan, state: State, pending: list[Stage]) -> Table:
    counts = [Column(title, justify="right") for title in COLUMNS]
    table = Table("stage", *counts, box=None, pad_edge=False, header_style="bold")
    without_sharing, distinct = plan.count_without_sharing(), Counter(stage.kind for stage in plan.stages)
    done = Counter(stage.kind for stage in state.records)
    for kind, n in distinct.items():
        completions, tokens = cost_of((stage for stage in pending if stage.kind == kind), plan.study)
        figures = (without_sharing[kind], n, done[kind], n - done[kind])
        table.add_row(kind, *map(str, figures), *(f"{figure:,}" if figure else "" for figure in (completions, tokens)))
    return table


def gpus_at_once(needs: Needs) -> str:
    """The fewest GPUs and CPUs with which the stages run. Engines and trainings take turns on them."""
    parts = []
    if needs.engine is not None:
        parts.append(f"an inference engine takes {counted(needs.engine.gpus, 'GPU')}")
    if needs.workers:
        parts.append(f"a training {counted(needs.workers * needs.train.gpus, 'GPU')}")
    how = f" ({', '.join(parts)}; {'both at once' if needs.together else 'they take turns'})" if len(parts) > 1 else ""
    return f"Needs at least {counted(needs.total['GPU'], 'GPU')} and {counted(needs.total['CPU'], 'CPU')}{how}."


def _examples(study: Study) -> str:
    counts = []
    for name, benchmark in study.benchmarks.items():
        n = examples_of(benchmark)
        has = isinstance(benchmark, GradedBenchmark) and benchmark.source is None
        of = f" of {BENCHMARKS.module(benchmark.kind).ROWS:,}" if has else ""
        default = "" if "n" in benchmark.model_fields_set else " (default)"
        counts.append(f"{name} {f'{n:,}' if n is not None else 'all'}{of}{default}")
    return f"Examples: {', '.join(counts)}."


def _trainings(pending: Iterable[Stage], study: Study) -> Iterator[str]:
    trainings = [stage for stage in pending if stage.kind == "train" and stage.runtime.published_by is None]
    if trainings:
        steps = sorted({steps_of(stage, study) for stage in trainings})
        yield f"Trainings: {len(trainings)}, of {f'{steps[0]} to ' if len(steps) > 1 else ''}{steps[-1]} steps."


def _notes(plan: Plan) -> Iterator[str]:
    """What a user may not expect."""
    study = plan.study
    trained = [(trial.condition, student) for trial in plan.trials if (student := trial.points[0].student) is not None]
    for condition, student in dict(trained).items():
        if student.kind == "train" and isinstance(student.settings.examples, RLProblems):
            yield (
                f"Note: conditions.{condition} trains on rl_problems: its objective uses no completions of the teacher."
            )
    for pair in dict.fromkeys(trial.pair for trial in plan.trials if trial.compares_logits):
        if any(isinstance(study.models[alias], HubModel) for alias in pair):
            yield (
                f"Note: an objective compares the logits of {' and '.join(pair)}: their tokenizers must be equal, "
                f"which is not checked for models of the hub."
            )
    for alone in dict.fromkeys(one.student for one in study.pair_list if one.student == one.teacher):
        yield f"Note: pairs: {alone} is its own teacher: off_model trains on the same samples as on_model."
    for alias, model in study.models.items():
        if isinstance(model, HubModel) and "gpt-oss" in model.hub:
            yield (
                f"Note: models.{alias}: gpt-oss reasons in channels, which are not separated from its answer here: use "
                f"it as a teacher behind an API."
            )
    if {"num_train_epochs", "max_steps"} <= study.train.model_fields_set and study.train.max_steps:
        yield "Note: train.num_train_epochs has no effect where train.max_steps is given."
    if any(benchmark.longest is None for benchmark in study.benchmarks.values()):
        yield "Note: tokens at most are without those of lm-eval tasks, whose lengths are not known here."
    if study.train.tuning == "full":
        for key in sorted(OF_LORA & study.train.model_fields_set):
            yield f"Note: train.{key} has no effect on full weights."


def _recorded(plan: Plan) -> Iterator[str]:
    """Data sets that are not used, and what is not measured of pairs with recorded answers."""
    study, used = plan.study, {stage.runtime.name for stage in plan.stages if stage.kind == "dataset"}
    for name in study.data:
        if name not in used:
            yield f"Note: data.{name} is not used: name it as a teacher in pairs, as prompts.source, or in a model."
    for name in dict.fromkeys(pair.teacher for pair in study.pair_list if pair.teacher in study.data):
        without = "its scores and the measure style" if "style" in study.measures else "its scores"
        yield f"Note: {name} is a data set: {without} are not measured, for it has no completions of benchmarks."


def _not_always_measured(study: Study) -> Iterator[str]:
    """Hypotheses on budgets that a search may pass by."""
    searched = {name: recovery for name, recovery in study.recoveries.items() if recovery.search is not None}
    for number, hypothesis in enumerate(study.hypotheses):
        for point in (hypothesis.compare, hypothesis.versus):
            for name, recovery in searched.items():
                is_its = point.condition in recovery.conditions and point.recovery in (None, name)
                if is_its and point.budget in recovery.budgets:
                    yield (
                        f"Note: hypotheses.{number} ({hypothesis.claim}): it is not measured unless the search of "
                        f"recoveries.{name} visits budget {point.budget} for every seed."
                    )


def _without_benefit(pending: list[Stage], study: Study) -> Iterator[str]:
    train, trains = study.resources.train, any(stage.kind == "train" for stage in pending)
    if trains and train.zero and not (train.gpus and (train.workers > 1 or train.offload != "nothing")):
        lacks = "with a single worker" if train.gpus else "without GPUs"
        yield f"Note: resources.train.zero has no benefit {lacks}: ZeRO splits a training over the GPUs of its workers."
    if study.resources.engine.gpus and not train.gpus and trains:
        yield "Note: resources.train.gpus is 0: trainings run on CPUs. For GPUs set resources: {train: {gpus: 1}}."
    real = {alias for alias, model in study.models.items() if isinstance(model, HubModel | LocalModel | GGUFModel)}
    if not study.resources.engine.gpus and real & {stage.runtime.engine for stage in pending}:
        yield "Note: resources.engine.gpus is 0: models run on CPUs. For GPUs set resources: {engine: {gpus: 1}}."


def _short_rows(pending: list[Stage]) -> Iterator[str]:
    for stage in pending:
        if stage.kind == "train":
            data = origin(stage.inputs["data"]) if "data" in stage.inputs else None
            sampled = stage.settings.sampling
            if sampled is None and data is not None and data.kind == "sample":
                sampled = data.settings.sampling_params
            where = "rl_problems" if isinstance(stage.settings.examples, RLProblems) else "sampling"
            if sampled is not None and sampled.max_tokens >= (longest := stage.settings.train.max_length):
                yield (
                    f"Note: {where}.max_tokens is {sampled.max_tokens}, but prompt and completion together have at "
                    f"most train.max_length = {longest} tokens in a training: the rest is not learned."
                )
