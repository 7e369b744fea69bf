"""The study file: what a user declares, validated before anything runs."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from evaluators.messages import shown
from orchestrator.study.benchmarks import AnyBenchmark, Benchmark
from orchestrator.study.conditions import Condition, with_kinds
from orchestrator.study.cost_assumptions import CostAssumptions
from orchestrator.study.data import DataSet
from orchestrator.study.hypotheses import Hypothesis
from orchestrator.study.models import AnyModel, Model
from orchestrator.study.pairs import Pair, PairGrid, Pairs
from orchestrator.study.prompts import Problems, Prompts, Sampling
from orchestrator.study.recoveries import Recovery
from orchestrator.study.resources import Resources
from orchestrator.study.settings import Settings, absolute
from orchestrator.study.tracking import Tracking
from orchestrator.study.train import Train

__all__ = ["Benchmark", "Model", "Pair", "PairGrid", "Problems", "Prompts", "Study"]


def _bool_or_list(value: Any) -> Any:
    is_list = isinstance(value, list) and all(isinstance(one, str) for one in value)
    if not (isinstance(value, bool) or is_list):
        example = value if isinstance(value, str) else "maths"
        raise ValueError(f"give true or a list of benchmarks, as [{example}], not {shown(value)}")
    return value


class Study(Settings):
    """A whole study. The keys of mappings are names, which tables and figures show."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="the study's name, as in its reports")
    store: Annotated[str, AfterValidator(absolute)] = Field(
        "runs",
        validate_default=True,
        description="the folder or fsspec URI of all results, relative to the working directory",
    )
    models: dict[str, AnyModel] = Field(description="models by name: a mapping, or organism:NAME, a hub id or a path")
    data: dict[str, DataSet] = Field(
        {}, description="data sets with answers of their own, or of text, by name: each may be a teacher of pairs"
    )
    pairs: Pairs = Field(description="students with their teachers: a grid {students, teachers}, or a list of pairs")
    prompts: Prompts = Field(description="the training prompts")
    evaluate_teachers: bool = Field(
        True, description="evaluate teachers on the benchmarks too; data sets among them never are"
    )
    sampling: Sampling = Field(description="how models sample completions of the training prompts")
    train: Train = Field(description="how students are trained")
    conditions: Annotated[
        dict[str, Condition],
        BeforeValidator(with_kinds, json_schema_input_type=dict[str, Condition | None]),
    ] = Field(min_length=1, description="what is done to students, by name")
    recoveries: dict[Annotated[str, Field(min_length=1)], Recovery] = Field(
        {}, description="how students are trained further to restore their scores, by name"
    )
    rl_problems: Problems | None = Field(None, description="the problems of RL objectives such as grpo")
    benchmarks: dict[str, AnyBenchmark] = Field(min_length=1, description="what models are evaluated on, by name")
    measures: dict[str, Annotated[bool | list[str], BeforeValidator(_bool_or_list)]] = Field(
        {}, description="what is measured beside scores, by measure: true, or a list of benchmarks"
    )
    hypotheses: list[Hypothesis] = Field([], description="declared expectations, compared with results in the report")
    seeds: list[int] = Field(min_length=1, description="training seeds: each is a repetition of every trial")
    dtype: Literal["float32", "bfloat16", "float16"] = Field("bfloat16", description="dtype of engines and trainings")
    max_model_len: int | None = Field(
        None,
        gt=0,
        description="the most tokens of a prompt and its completion in engines; the model's own limit by default "
        "(train.max_length is that of trainings)",
    )
    resources: Resources = Field(Resources(), description="CPUs, GPUs and processes")
    tracking: Tracking = Field(Tracking(), description="MLflow")
    cost_assumptions: CostAssumptions = Field(CostAssumptions(), description="what costs are estimated from")
    provenance: dict[str, Annotated[str, Field(min_length=1)]] = Field(
        {}, description="where values come from, by field, as train.lora_r (which has precedence) or train"
    )

    @property
    def pair_list(self) -> list[Pair]:
        """Every pair, whether declared as a grid or in a list."""
        if isinstance(self.pairs, list):
            return self.pairs
        return [Pair(student=s, teacher=t) for s in self.pairs.students for t in self.pairs.teachers]

    def pairs_with(self, condition: str, recovery: str = "") -> list[Pair]:
        """The pairs that a condition is for, and, of those, a recovery."""
        named = [self.conditions[condition].pairs, self.recoveries[recovery].pairs if recovery else None]
        return [pair for pair in self.pair_list if all(some is None or str(pair) in some for some in named)]
