"""What stages will cost: GPU hours of open models, tokens of APIs.

Neither hub nor weights are needed: a study declares the size of its models (`models.x.parameters`). A toy model has no
cost before its work is measured.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from orchestrator.plan.work import Speeds, hours_of, sampled_tokens
from orchestrator.plan.workload import asked_of
from orchestrator.store.stage import Stage
from orchestrator.study.schema import Study

MILLION = 1e6
ON_CPUS = "hours of engines and trainings on CPUs"


@dataclass
class GpuHours:
    """Hours of one GPU by kind of work and by stage. `tokens`: input and output by model behind an API. `unpriced`:
    models of unknown size. `measured`: the speeds that were used."""

    hours: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    by_stage: dict[Stage, float] = field(default_factory=lambda: defaultdict(float))
    tokens: dict[str, tuple[float, float]] = field(default_factory=dict)
    unpriced: set[str] = field(default_factory=set)
    measured: Speeds = field(default_factory=dict)


def gpu_hours_of(stages: Iterable[Stage], study: Study, measured: Speeds | None = None) -> GpuHours:
    """The cost of these stages, including every budget of a bisection. `measured`: speeds from the stages that are
    done."""
    stages, costs = list(stages), GpuHours(measured=measured or {})
    for stage, work, hours in hours_of(stages, study, costs.measured):
        if work.sized or (work.model, work.place) in costs.measured:
            costs.hours[work.kind] += hours
            costs.by_stage[stage] += hours
        elif work.model in study.models:
            costs.unpriced.add(work.model)
    for stage in stages:
        model = study.models.get(stage.runtime.engine)
        if stage.kind == "sample" and model is not None and model.served:
            alias, completions = stage.runtime.engine, asked_of(stage, study)[0]
            read, written = costs.tokens.get(alias, (0.0, 0.0))
            read += completions * study.cost_assumptions.prompt_tokens
            costs.tokens[alias] = (read, written + sampled_tokens(stage, study))
    return costs


def lines(costs: GpuHours, study: Study, verbose: bool = False) -> Iterator[str]:
    """The costs in words. `verbose` adds all assumptions."""
    if not costs.hours and not costs.tokens and not costs.unpriced:
        return
    if costs.hours:
        parts = ", ".join(f"{what} {_rounded(hours)}" for what, hours in costs.hours.items() if hours)
        unit, of = "GPU hours", "by assumptions (plan --verbose prints them)."
        if costs.measured:
            unit, of = unit if on_gpus(study) else ON_CPUS, "from the times of the stages that are done."
        elif not on_gpus(study):
            of += " CPUs take far longer; a run says how long after a few stages."
        yield f"Estimated: {_rounded(sum(costs.hours.values()))} {unit} ({parts}), {of}"
    for alias, (read, written) in sorted(costs.tokens.items()):
        price = study.cost_assumptions.api.get(alias)
        paid = "no price is declared (cost_assumptions.api)"
        if price is not None:
            paid = f"about {(read * price.input + written * price.output) / MILLION:,.2f} US dollars"
        tokens = f"{read / MILLION:,.2f} million input tokens, {written / MILLION:,.2f} million output tokens"
        yield f"API {alias}: {tokens}; {paid}."
    for alias in sorted(costs.unpriced):
        example = "{hub: ..., parameters: 8.0e+9}"
        yield f"Not estimated: {alias}, of unknown size: give models.{alias} parameters, as {example}."
    if any(benchmark.longest is None for benchmark in study.benchmarks.values()):
        yield "Not estimated: completions for tasks of lm-eval without max_tokens, whose length only lm-eval knows."
    if verbose:
        yield f"Assumptions (cost_assumptions): {study.cost_assumptions}."


def on_gpus(study: Study) -> bool:
    return bool(study.resources.engine.gpus or study.resources.train.gpus)


def _rounded(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.2g}"
