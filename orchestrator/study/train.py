"""How students are trained, as a study file declares it."""

from dataclasses import asdict, fields
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError, model_validator

from evaluators.messages import shown
from orchestrator.study.settings import Settings, changed, check_known, check_size, mistakes
from trainers import objectives
from trainers.objective import Objective as Traits


def _objective_with_options(value: Any) -> Any:
    """`sft`, or `{kind: sft_kl, weight: 0.5}`; all options of the objective, those with defaults included."""
    given = {"kind": value} if isinstance(value, str) else value
    if not isinstance(given, dict) or "kind" not in given:
        raise ValueError("give the objective's name, or a mapping with its name as kind and its options")
    kind, options = given["kind"], {key: option for key, option in given.items() if key != "kind"}
    declared = objectives.get(str(kind)).options
    for key in options:
        if key == "max_tokens":
            raise ValueError(f"{kind}: max_tokens {BELONGS}")
        check_known(kind, key, [field.name for field in fields(declared)], "its options")
        check_size(options[key])
    try:
        return {"kind": kind, **asdict(TypeAdapter(declared).validate_python(options))}
    except ValidationError as error:
        raise ValueError("\n".join(mistakes(error, ""))) from error


Objective = Annotated[
    dict[str, Any], BeforeValidator(_objective_with_options, json_schema_input_type=str | dict[str, Any])
]
TrainChanges = Annotated[
    dict[str, Any], Field(default_factory=dict, description="fields that differ from the study's train")
]
BELONGS = "belongs to sampling, or to rl_problems for RL (train.max_length limits a training row)"
SHAPE_OF_ADAPTER = ("lora_r", "lora_alpha", "target_modules")  # which further training keeps
OF_LORA = {*SHAPE_OF_ADAPTER, "lora_dropout"}
ALL_LINEAR = "all-linear"


def _all_or_names(value: Any) -> Any:
    is_list = isinstance(value, list | tuple) and value and all(isinstance(one, str) and one for one in value)
    if value != ALL_LINEAR and not is_list:
        raise ValueError(
            f"give {ALL_LINEAR}, or a list of names of linear layers, as [q_proj, v_proj], not {shown(value)}"
        )
    return value


TargetModules = Annotated[
    Literal["all-linear"] | list[str],
    BeforeValidator(_all_or_names, json_schema_input_type=Literal["all-linear"] | list[str]),
]


class Train(Settings):
    """How a student is trained: which weights, on what, and for how long."""

    HINTS: ClassVar[dict[str, str]] = {
        "lr": "unknown key; use learning_rate",
        "epochs": "unknown key; use num_train_epochs",
        "rank": "unknown key; use lora_r",
        "workers": "unknown key; use resources.train.workers",
        "gpus": "unknown key; use resources.train.workers and resources.train.gpus",
        "r": "unknown key; use lora_r",
        "per_device_train_batch_size": "unknown key; use batch_size, the rows in a step of all workers",
        "gradient_accumulation_steps": "unknown key; use resources.train.max_tokens_per_microbatch",
        "deepspeed": "unknown key; use resources.train.zero",
        **dict.fromkeys(("bf16", "fp16"), "unknown key; use dtype at the top level, as dtype: bfloat16"),
        "max_tokens": BELONGS,
        "lora_target_modules": "unknown key; use target_modules",
        "qlora": "is not supported: weights are not quantised; leave it out",
        **dict.fromkeys(
            ("num_generations", "skip_tokens", "beta", "temperature"),
            "is an option of the objective, as objective: {kind: grpo, num_generations: 16}",
        ),
    }
    tuning: Literal["lora", "full"] = Field("lora", description="train a LoRA adapter, or all weights")
    lora_r: int = Field(8, gt=0, description="rank of the adapter")
    lora_alpha: int = Field(16, gt=0, description="scale of the adapter: alpha / r")
    target_modules: TargetModules = Field(
        "all-linear",
        description="the layers with an adapter: all linear ones but the output head, or those whose names end in one "
        "of a list, as [q_proj, v_proj]",
    )
    lora_dropout: float = Field(
        0.0, ge=0, lt=1, description="share of the adapter's inputs that is set to 0 in training"
    )
    objective: Objective = Field(
        {"kind": "sft"}, description="what is minimised: a name, or a mapping with its kind and its options"
    )
    loss_on: Literal["answer", "after_reasoning", "empty_reasoning"] = Field(
        "answer",
        description="the supervised tokens. answer: the whole completion; after_reasoning: what follows its reasoning; "
        "empty_reasoning: the completion after an empty reasoning block",
    )
    drop_least_likely: float = Field(
        0.0, ge=0, lt=1, description="share of the supervised tokens, the least likely ones, that are not supervised"
    )
    learning_rate: float = Field(gt=0, description="the peak learning rate")
    batch_size: int = Field(
        32, gt=0, description="rows in a step; prompts, where the student samples its own completions"
    )
    num_train_epochs: float = Field(1.0, gt=0, le=1_000_000, description="passes over the data")
    min_steps: int = Field(1, gt=0, description="repeat small data sets up to this many steps")
    max_steps: int | None = Field(None, gt=0, description="the number of steps, instead of num_train_epochs")
    order: Literal["shuffled", "fixed"] = Field("shuffled", description="the order of the rows in each epoch")
    steps_per_generation: int = Field(
        1, gt=0, description="steps that share one sampling of the student's own completions"
    )
    lr_scheduler_type: Literal["constant", "linear", "cosine"] = Field(
        "linear", description="how the learning rate decays after the warm-up"
    )
    warmup_ratio: float = Field(0.05, ge=0, lt=1, description="share of the steps in which the learning rate rises")
    weight_decay: float = Field(0.0, ge=0, description="of AdamW")
    max_grad_norm: float = Field(1.0, gt=0, description="the gradient's norm is clipped to this")
    max_length: int = Field(
        2048, gt=1, description="tokens of a row, prompt and completion together; longer rows lose their end"
    )
    kl_every_steps: int = Field(
        10,
        ge=0,
        description="steps between two estimates of KL(student || base student) on the step's rows; 0: none. Each is "
        "one forward pass of the base student; under full weights that is a second model in memory",
    )
    checkpoints: list[Annotated[int, Field(gt=0)]] = Field([], description="steps after which the student is evaluated")

    @property
    def traits(self) -> Traits:
        """What the objective needs of a training."""
        return objectives.get(self.objective["kind"])

    @property
    def objective_options(self) -> Any:
        """The objective's options, as its own dataclass."""
        return self.traits.options(**{key: value for key, value in self.objective.items() if key != "kind"})

    @model_validator(mode="after")
    def _has_an_effect(self) -> "Train":
        for key in self.traits.unused_settings:
            if getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key} has no effect on {self.objective['kind']}: leave it out")
        return self

    def changed(self, overrides: dict[str, Any]) -> "Train":
        """The same training with some fields replaced. Raises ValueError for what it does not take."""
        if "objective" in overrides:
            self._check_inherited(overrides)
        new = changed(self, "train", overrides)
        if new.tuning == "full":
            for key in OF_LORA & overrides.keys():
                raise ValueError(f"train.{key} has no effect on full weights: leave it out, or use tuning: lora")
        return new

    def _check_inherited(self, overrides: dict[str, Any]) -> None:
        try:
            kind = _objective_with_options(overrides["objective"])["kind"]
        except ValueError:
            return  # The message of the validation has the place.
        for key in objectives.get(kind).unused_settings:
            default = type(self).model_fields[key].default
            if key not in overrides and getattr(self, key) != default:
                raise ValueError(
                    f"train.{key}: {getattr(self, key)} is inherited from the study's train and has no effect on "
                    f"{kind}: add {key}: {default} to this train"
                )
