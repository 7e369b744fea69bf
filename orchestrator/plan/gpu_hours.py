"""What stages will cost, estimated from the study's assumptions: GPU hours of open models, tokens of APIs.

Neither hub nor weights are needed: a study declares the size of its models (`models.x.parameters`). Toy models have no
cost.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from orchestrator.plan.workload import asked_of, rows_in, steps_of
from orchestrator.store.stage import Stage
from orchestrator.study.cost_assumptions import FORWARD_FLOP, FULL_FLOP, LORA_FLOP
from orchestrator.study.models import OpenModel
from orchestrator.study.schema import Study

SECONDS, MILLION = 3600, 1e6


@dataclass
class GpuHours:
    """Hours of one GPU by kind of work, input and output tokens by model behind an API, and models of unknown size."""

    hours: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    tokens: dict[str, tuple[float, float]] = field(default_factory=dict)
    unpriced: set[str] = field(default_factory=set)


def gpu_hours_of(stages: Iterable[Stage], study: Study) -> GpuHours:
    """The cost of these stages, including every budget of a bisection."""
    costs, prices = GpuHours(), study.cost_assumptions
    for stage in stages:
        alias = stage.runtime.engine
        if alias not in study.models or stage.kind not in ("sample", "train", "logprobs"):
            continue
        completions, longest = asked_of(stage, study)
        sampled = completions * max(1.0, longest * prices.answer_share) if longest else 0.0
        model = study.models[alias]
        if not isinstance(model, OpenModel):
            read, written = costs.tokens.get(alias, (0.0, 0.0))
            costs.tokens[alias] = (read + completions * prices.prompt_tokens, written + sampled)
            continue
        parameters = model.parameters
        if parameters is None:
            costs.unpriced.add(alias)
            continue
        costs.hours["sampling"] += sampled * parameters / 1e9 / prices.sampling_speed / SECONDS
        what = "training" if stage.kind == "train" else "log-probabilities"
        flop = _flop_a_parameter(stage, study) * parameters
        costs.hours[what] += flop / (prices.peak_tflops * 1e12 * prices.training_mfu) / SECONDS
    return costs


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


def lines(costs: GpuHours, study: Study, verbose: bool = False) -> Iterator[str]:
    """The costs in words. `verbose` adds all assumptions."""
    if not costs.hours and not costs.tokens and not costs.unpriced:
        return
    if costs.hours:
        parts = ", ".join(f"{what} {_rounded(hours)}" for what, hours in costs.hours.items() if hours)
        total = _rounded(sum(costs.hours.values()))
        yield f"Estimated: {total} GPU hours ({parts}), by assumptions (plan --verbose prints them)."
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


def _rounded(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.2g}"
