"""The study file: what a user declares, validated before anything runs."""

from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from evaluators.benchmarks import BENCHMARKS
from evaluators.engines.api import OPENAI, APIModel
from evaluators.grading.aggregate import check_aggregation
from evaluators.suggest import did_you_mean
from orchestrator.study import provenance
from orchestrator.study.cost_assumptions import CostAssumptions
from orchestrator.study.hypotheses import Hypothesis
from orchestrator.study.recoveries import Recovery
from orchestrator.study.resources import Resources
from orchestrator.study.settings import Settings, check_known
from orchestrator.study.train import Train

OF_APIS = ("base_url", "key_env", "concurrency", "limit", "extra")  # what only a model behind an API takes
TASK_KEYS = ("chat", "shots")  # what only a task of lm-eval takes
LM_EVAL = "lm_eval:"  # begins the kind of a benchmark that is a task of lm-eval


def _model_from_text(value: Any) -> Any:
    """`organism:steps`, `./folder` or `/folder`, else a hub id."""
    if not isinstance(value, str):
        return value
    if value.startswith("organism:"):
        return {"organism": value.removeprefix("organism:")}
    return {"path": value} if value.startswith((".", "/", "~")) else {"hub": value}


class Model(Settings):
    """A model by one of: an organism's name, a hub id (with a revision), a local folder, what an OpenAI-compatible API
    calls it (a teacher only, for it shows neither weights nor tokens)."""

    organism: str | None = None
    rebuild: bool = Field(False, description="train the organism anew instead of taking the shipped weights")
    hub: str | None = None
    revision: str = "main"
    path: str | None = None
    api: str | None = Field(None, min_length=1)
    base_url: str = Field(OPENAI, pattern=r"^https?://[^@?#]+$", description="where the API is")
    key_env: str | None = Field(None, pattern=r"^[A-Z][A-Z0-9_]*$", description="the variable that holds its key")
    concurrency: int = Field(16, gt=0, description="questions to the API under way at once")
    limit: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens"
    extra: dict[str, Any] = Field({}, description="sent to the API with every question; null leaves a field out")
    parameters: float | None = Field(None, gt=0, description="that a token passes through, for prices; see docs")

    @property
    def served(self) -> APIModel | None:
        """How the model is asked where it is behind an API."""
        if self.api is None:
            return None
        return APIModel(self.api, self.base_url, self.key_env, self.concurrency, self.limit, self.extra)

    @model_validator(mode="after")
    def _one_source(self) -> "Model":
        if sum(source is not None for source in (self.organism, self.hub, self.path, self.api)) != 1:
            raise ValueError("give exactly one of organism, hub, path and api")
        for key in () if self.api else OF_APIS:
            if getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key} has no effect: it is for models behind an API")
        if self.api and self.parameters:
            raise ValueError("parameters has no effect on the price of an API: use cost_assumptions.api")
        for key in ("model", "messages", "n", "stream", "api_key", self.limit):
            if self.extra.get(key) is not None:
                raise ValueError(f"extra: {key} is not to be set here")
        return self

    @model_serializer(mode="wrap")
    def _what_has_an_effect(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        idle = {*(() if self.api else OF_APIS), *(() if self.hub else ("revision",))}
        return {key: value for key, value in dump(self).items() if key not in idle}


class Pair(Settings):
    """One student with one teacher, by alias."""

    student: str
    teacher: str

    def __str__(self) -> str:
        return f"{self.student} / {self.teacher}"


class PairGrid(Settings):
    """Every student with every teacher."""

    students: list[str] = Field(min_length=1)
    teachers: list[str] = Field(min_length=1)


class Prompts(Settings):
    """The training prompts: `synthetic` (the small world's chat), a JSONL file, or a hub data set."""

    source: str
    column: str = "instruction"
    input_column: str | None = Field(
        None, description="appended to the prompt where it is not empty (Alpaca's `input`)"
    )
    split: str = "train"
    n: int | None = Field(None, gt=0, description="prompts to take; all by default")
    seed: int = 0
    system: str | None = None
    maths: float = Field(0.0, ge=0, lt=1, description="of `synthetic`: the share of prompts that are maths problems")

    @model_validator(mode="after")
    def _maths_is_of_organisms(self) -> "Prompts":
        if self.maths and self.source != "synthetic":
            raise ValueError(f"maths has no effect on {self.source}: it mixes problems into the prompts of organisms")
        return self


def _switch_from_bool(value: Any) -> Any:
    return {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value  # as YAML reads on, off


Thinking = Annotated[Literal["on", "off", "empty"] | None, BeforeValidator(_switch_from_bool)]


class Sampling(Settings):
    """How models answer the training prompts."""

    max_tokens: int = Field(gt=0)
    temperature: float = Field(1.0, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    seed: int = 0
    thinking: Thinking = None


class Problems(Settings):
    """What GRPO is rewarded for solving: problems in the schema of a benchmark, none of them one of its examples.
    `synthetic` are the small world's training problems."""

    kind: str
    source: str
    n: int = Field(gt=0)
    seed: int = 0
    prompt: str | None = Field(None, description="how a row is asked; the benchmark's own prompt by default")
    system: str | None = None
    max_tokens: int = Field(gt=0)
    thinking: Thinking = None

    @field_validator("kind")
    @classmethod
    def _is_graded(cls, kind: str) -> str:
        if kind not in BENCHMARKS:
            raise ValueError(f'no answers to "{kind}" can be rewarded; {did_you_mean(kind, BENCHMARKS)}')
        return kind


class Benchmark(Settings):
    """A benchmark by the file that grades it, or a task of lm-eval, with its rows: `synthetic`, a JSONL file, or a hub
    data set."""

    kind: str = Field(description="a benchmark, or lm_eval:<task>")
    source: str | None = Field(
        None, description="where the rows come from; the benchmark's own hub data set by default"
    )
    n: int = Field(200, gt=0)
    seed: int = 0
    prompt: str | None = Field(
        None, description="how a row is asked, with its columns in braces; the benchmark's own by default"
    )
    system: str | None = Field(None, description="a system prompt; none by default")
    thinking: Thinking = Field(
        None, description="of reasoning models: on or off by the chat template's switch, or an empty block"
    )
    answer_by: Literal["generation", "logprob"] = Field(
        "generation", description="of multiple choice: the generated letter, or the likeliest of the letters"
    )
    max_tokens: int | None = Field(None, gt=0, description="the benchmark's own limit by default")
    temperature: float = Field(0.0, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    samples: int = Field(1, gt=0, description="answers to each example")
    score: str = Field(
        "mean", description="what several answers are worth: mean (avg@n), majority, majority@k, or pass@k"
    )
    chat: bool = Field(True, description="of tasks of lm-eval: whether they are asked by the chat template")
    shots: int | None = Field(
        None, ge=0, description="of tasks of lm-eval: examples in the prompt; the task's own number"
    )

    @property
    def task(self) -> str | None:
        """The name of the lm-eval task; None for a benchmark of our own."""
        return self.kind.removeprefix(LM_EVAL) if self.kind.startswith(LM_EVAL) else None

    @model_validator(mode="after")
    def _can_be_asked(self) -> "Benchmark":
        if self.task is not None:
            for key, field in type(self).model_fields.items():
                if key not in ("kind", "source", "n", "seed", *TASK_KEYS) and getattr(self, key) != field.default:
                    raise ValueError(f"{key} has no effect on {self.kind}: how its rows are asked is the task's affair")
            if self.source == "synthetic":
                raise ValueError(f"source: the organisms' world has none for {self.kind}; give a JSONL file, or none")
            return self
        if self.kind not in BENCHMARKS:
            raise ValueError(
                f'kind: there is no "{self.kind}"; {did_you_mean(self.kind, BENCHMARKS)} '
                f"(lm_eval:<task> is any task of lm-eval)"
            )
        for key in TASK_KEYS:
            if getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key} has no effect on {self.kind}: it is for tasks of lm-eval")
        if self.answer_by == "logprob" and not BENCHMARKS.module(self.kind).OPTIONS:
            raise ValueError(f"answer_by: {self.kind} is not multiple choice, so it has no options to compare")
        if self.answer_by == "logprob" and (self.samples > 1 or self.temperature > 0 or self.max_tokens):
            raise ValueError(
                "answer_by: the likeliest option is always the same, and one token: leave samples, temperature and "
                "max_tokens out"
            )
        if self.thinking == "on" and (self.max_tokens or BENCHMARKS.module(self.kind).MAX_TOKENS) == 1:
            raise ValueError(f"thinking: an answer of one token has no room for it; raise max_tokens of {self.kind}")
        if self.top_p < 1 and self.temperature == 0:
            raise ValueError("top_p has no effect on greedy answers: set temperature, or leave it out")
        if self.samples > 1 and self.temperature == 0:
            raise ValueError(f"samples: {self.samples} greedy answers are all the same: set temperature, as to 0.7")
        if self.score.startswith("majority") and not BENCHMARKS.module(self.kind).VOTES:
            raise ValueError(f"score: answers to {self.kind} have no part to vote on; use mean or pass@k")
        check_aggregation(self.score, self.samples)
        return self


class Measures(Settings):
    """What is measured beside scores."""

    perplexity: bool = Field(False, description="of what a student is trained on, under the original student")
    kl: list[str] = Field([], description="the benchmarks on whose prompts KL(student || original) is estimated")
    style: list[str] = Field(
        [], description="the benchmarks whose answers are told apart: in the original student's style or the teacher's"
    )
    kl_every_steps: int = Field(
        10, ge=0, description="steps of a training between two looks at KL(student || original) on its rows; 0: none"
    )


class Tracking(Settings):
    """MLflow: an SQLite file beside a local store by default, or any tracking URI."""

    uri: str | None = None
    experiment: str = "offmodel"

    @field_validator("uri")
    @classmethod
    def _no_password(cls, uri: str | None) -> str | None:
        if uri is not None and uri.startswith("http") and "@" in uri:
            raise ValueError(
                "a password does not belong in a study file: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            )
        return uri


def _condition_from_nothing(value: Any) -> Any:
    return {name: options or {} for name, options in value.items()} if isinstance(value, dict) else value


class Study(Settings):
    """A whole study. Mappings are by alias: the names that tables and plots show."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    store: str = "runs"
    models: dict[str, Annotated[Model, BeforeValidator(_model_from_text)]]
    pairs: PairGrid | list[Pair]
    prompts: Prompts
    sampling: Sampling
    train: Train
    conditions: Annotated[dict[str, dict[str, Any]], BeforeValidator(_condition_from_nothing)] = Field(min_length=1)
    recoveries: dict[Annotated[str, Field(min_length=1)], Recovery] = Field({}, description="by name")
    rl_problems: Problems | None = None
    benchmarks: dict[str, Benchmark] = Field(min_length=1)
    measures: Measures = Measures()
    hypotheses: list[Hypothesis] = Field([], description="what is expected, and set beside what comes out")
    seeds: list[int] = Field(min_length=1)
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    max_model_len: int | None = Field(
        None, gt=0, description="the longest prompt and answer together; the model's own by default"
    )
    resources: Resources = Resources()
    tracking: Tracking = Tracking()
    cost_assumptions: CostAssumptions = CostAssumptions()
    provenance: dict[str, Annotated[str, Field(min_length=1)]] = Field(
        {}, description="where values come from, by field (as train.rank, which has precedence, or train)"
    )

    @property
    def pair_list(self) -> list[Pair]:
        """Every pair, whether declared as a grid or one by one."""
        if isinstance(self.pairs, list):
            return self.pairs
        return [Pair(student=s, teacher=t) for s in self.pairs.students for t in self.pairs.teachers]

    def pairs_with(self, condition: str, recovery: str = "") -> list[Pair]:
        """The pairs that a condition is for, and, of those, a recovery."""
        named = [self.conditions[condition].get("pairs"), self.recoveries[recovery].pairs if recovery else None]
        return [pair for pair in self.pair_list if all(some is None or str(pair) in some for some in named)]

    @model_validator(mode="before")
    @classmethod
    def _recoveries_have_names(cls, data: Any) -> Any:
        if isinstance(data, dict) and "recovery" in data:
            raise ValueError(
                "recovery: a study may have several now, each with a name of its own: write recoveries: {own samples: "
                "{method: on_model_sft, conditions: [...], budgets: [...]}}, and search: {benchmark: ...} for stop"
            )
        return data

    @model_validator(mode="after")
    def _names_agree(self) -> "Study":
        for pair in self.pair_list:
            for role in ("student", "teacher"):
                check_known("pairs", f"{role} ", getattr(pair, role), self.models, "models")
            if self.models[pair.student].api:
                raise ValueError(f"pairs: {pair.student} is behind an API, so it can teach, but not be trained")
        for name, options in self.conditions.items():
            self._check_pairs(f"conditions.{name}", options.get("pairs"))
            self._check_benchmarks(f"conditions.{name}", options.get("benchmarks"))
        for name, recovery in self.recoveries.items():
            self._check_recovery(f"recoveries.{name}", recovery)
        for name in self.measures.kl:
            check_known("measures.kl", "", name, self.benchmarks, "benchmarks")
            if self.benchmarks[name].task is not None:
                raise ValueError(f"measures.kl: {name} is a task of lm-eval, which is asked in its own way")
        for name in self.measures.style:
            check_known("measures.style", "", name, self.benchmarks, "benchmarks")
            asked = self.benchmarks[name]
            if asked.task is not None:
                raise ValueError(f"measures.style: {name} is a task of lm-eval, which need not have answers in words")
            if (asked.max_tokens or BENCHMARKS.module(asked.kind).MAX_TOKENS) == 1:
                raise ValueError(f"measures.style: answers to {name} are one token, which has no style")
        for name in self.cost_assumptions.api:
            check_known(
                "cost_assumptions.api",
                "",
                name,
                [alias for alias, one in self.models.items() if one.api],
                "models by API",
            )
        provenance.check(self.provenance, self.model_dump())
        repeatable: dict[str, list] = {
            "pairs": [str(pair) for pair in self.pair_list],
            "seeds": self.seeds,
        }
        for where, values in repeatable.items():
            if len(set(values)) != len(values):
                raise ValueError(f"{where}: the same twice in {', '.join(map(str, values))}")
        return self

    def _check_benchmarks(self, where: str, named: Any) -> None:
        if named is not None and (not isinstance(named, list) or not named):
            raise ValueError(f"{where}.benchmarks: give a list, as [{next(iter(self.benchmarks))}]")
        for one in named or []:
            check_known(f"{where}.benchmarks", "", str(one), self.benchmarks, "the study's benchmarks")

    def _check_pairs(self, where: str, named: Any) -> None:
        if named is None:
            return
        if not isinstance(named, list) or not named:
            raise ValueError(f'{where}.pairs: give a list, as ["{self.pair_list[0]}"]')
        for one in named:
            check_known(f"{where}.pairs", "", str(one), [str(pair) for pair in self.pair_list], "the study's pairs")

    def _check_recovery(self, where: str, recovery: Recovery) -> None:
        self._check_pairs(where, recovery.pairs)
        try:
            self.train.changed(recovery.train)
        except ValueError as error:
            raise ValueError(f"{where}.{error}") from error
        for name in recovery.conditions:
            check_known(f"{where}.conditions", "", name, self.conditions, "conditions")
            if recovery.pairs is not None:
                has = [str(pair) for pair in self.pairs_with(name)]
                for pair in recovery.pairs:
                    check_known(f"{where}.pairs", "", pair, has, f"the pairs of {name}")
        if recovery.search is not None:
            check_known(f"{where}.search.benchmark", "", recovery.search.benchmark, self.benchmarks, "benchmarks")
