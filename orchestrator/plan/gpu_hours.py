"""What stages will cost, by the study's assumptions (see cost_assumptions.py): GPU hours of open models, tokens of APIs.

Without a hub and without weights: how large a model is, a study says (`models.x.parameters`). Organisms have no price.
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
    """`hours` of one GPU by what is done; `tokens` that an API reads and writes, and `unpriced` models, by alias."""

    hours: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    tokens: dict[str, tuple[float, float]] = field(default_factory=dict)
    unpriced: set[str] = field(default_factory=set)


def gpu_hours_of(stages: Iterable[Stage], study: Study) -> GpuHours:
    """What these stages will cost, every budget of a search among them."""
    bill, prices = GpuHours(), study.cost_assumptions
    for stage in stages:
        alias = stage.runtime.engine
        if alias not in study.models or stage.kind not in ("sample", "train", "logprobs"):
            continue
        answers, longest = asked_of(stage, study)
        sampled = answers * max(1.0, longest * prices.answer_share) if longest else 0.0
        model = study.models[alias]
        if not isinstance(model, OpenModel):
            read, written = bill.tokens.get(alias, (0.0, 0.0))
            bill.tokens[alias] = (read + answers * prices.prompt_tokens, written + sampled)
            continue
        parameters = model.parameters
        if parameters is None:
            bill.unpriced.add(alias)
            continue
        bill.hours["sampling"] += sampled * parameters / 1e9 / prices.sampling_speed / SECONDS
        what = "training" if stage.kind == "train" else "likelihoods"
        flop = _flop_a_parameter(stage, study) * parameters
        bill.hours[what] += flop / (prices.peak_tflops * 1e12 * prices.training_mfu) / SECONDS
    return bill


def _flop_a_parameter(stage: Stage, study: Study) -> float:
    prices = study.cost_assumptions
    if stage.kind == "logprobs":
        return FORWARD_FLOP * rows_in(stage.inputs["data"], study) * _row(_longest(stage.inputs["data"], study), study)
    if stage.kind != "train" or stage.runtime.published_by is not None:
        return 0.0
    each = LORA_FLOP if stage.settings["tuning"] == "lora" else FULL_FLOP
    rollouts, longest = asked_of(stage, study)
    if rollouts:
        return each * rollouts * min(stage.settings["max_length"], _row(longest, study))
    rows = steps_of(stage, study) * stage.settings["batch_size"]
    length = prices.prompt_tokens + study.sampling.max_tokens * prices.answer_share
    return each * rows * min(stage.settings["max_length"], length)


def _longest(data: Stage, study: Study) -> int:
    return asked_of(data, study)[1] if data.kind == "sample" else study.sampling.max_tokens


def _row(longest: int, study: Study) -> float:
    return study.cost_assumptions.prompt_tokens + longest * study.cost_assumptions.answer_share


def lines(bill: GpuHours, study: Study) -> Iterator[str]:
    """The bill in words, with all that is assumed."""
    if not bill.hours and not bill.tokens and not bill.unpriced:
        return
    if bill.hours:
        parts = ", ".join(f"{what} {_rounded(hours)}" for what, hours in bill.hours.items() if hours)
        yield f"Price, by assumptions: about {_rounded(sum(bill.hours.values()))} GPU hours ({parts})."
    for alias, (read, written) in sorted(bill.tokens.items()):
        price = study.cost_assumptions.api.get(alias)
        paid = "no price is declared (cost_assumptions.api)"
        if price is not None:
            paid = f"about {(read * price.input + written * price.output) / MILLION:,.2f} US dollars"
        yield f"API {alias}: {read / MILLION:,.2f} million tokens to read, {written / MILLION:,.2f} to write; {paid}."
    if bill.unpriced:
        names = ", ".join(sorted(bill.unpriced))
        yield f"Without a price, for their size is not declared (models.x.parameters): {names}."
    if any(benchmark.task for benchmark in study.benchmarks.values()):
        yield "Answers to tasks of lm-eval, whose length it alone knows, are not in the price."
    yield f"Assumed (cost_assumptions): {study.cost_assumptions}."


def _rounded(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.2g}"
