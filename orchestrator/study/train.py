"""The recipe of a training, as a study file declares it."""

from dataclasses import asdict, fields
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError, model_validator

from evaluators.suggest import did_you_mean
from orchestrator.study.settings import Settings, changed, check_known
from trainers import objectives


def _objective_with_options(value: Any) -> Any:
    """`sft`, or `{kind: sft_kl, weight: 0.5}`; all options of the objective, those with defaults included."""
    given = {"kind": value} if isinstance(value, str) else value
    if not isinstance(given, dict) or "kind" not in given:
        raise ValueError("give the objective's name, or a mapping with its name as kind and its options")
    kind, options = given["kind"], {key: option for key, option in given.items() if key != "kind"}
    if kind not in objectives.OBJECTIVES:
        raise ValueError(f'there is no objective "{kind}"; {did_you_mean(str(kind), objectives.OBJECTIVES)}')
    declared = objectives.module(kind).Options
    for key in options:
        check_known(kind, "", key, [field.name for field in fields(declared)], "its options")
    try:
        return {"kind": kind, **asdict(TypeAdapter(declared).validate_python(options))}
    except ValidationError as error:
        found = error.errors()[0]
        said = found["msg"].removeprefix("Value error, ")
        raise ValueError(": ".join([*map(str, found["loc"]), said])) from error


Objective = Annotated[dict[str, Any], BeforeValidator(_objective_with_options)]


class Train(Settings):
    """A recipe: what is optimised, of what, how, and for how long."""

    tuning: Literal["lora", "full"] = "lora"
    lora_r: int = Field(8, gt=0)
    lora_alpha: int = Field(16, gt=0)
    objective: Objective = Field({"kind": "sft"})
    loss_on: Literal["answer", "after_reasoning", "empty_reasoning"] = "answer"
    drop_least_likely: float = Field(
        0.0, ge=0, lt=1, description="share of the supervised tokens, the least likely, left out"
    )
    learning_rate: float = Field(gt=0)
    batch_size: int = Field(32, gt=0, description="rows in a step; prompts, where the student samples its own answers")
    num_train_epochs: float = Field(1.0, gt=0)
    min_steps: int = Field(1, gt=0, description="repeat small data sets up to this many steps")
    max_steps: int | None = Field(None, gt=0, description="the number of steps, in place of epochs")
    order: Literal["shuffled", "fixed"] = "shuffled"
    steps_per_generation: int = Field(1, gt=0, description="steps that share one sampling of the student's own answers")
    lr_scheduler_type: Literal["constant", "linear", "cosine"] = "linear"
    warmup_ratio: float = Field(0.05, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    max_length: int = Field(2048, gt=1)
    checkpoints: list[Annotated[int, Field(gt=0)]] = Field([], description="steps after which the student is measured")

    @property
    def on_policy(self) -> bool:
        """Whether the student learns from answers that it samples itself."""
        return self.objective["kind"] in objectives.ON_POLICY

    @model_validator(mode="after")
    def _has_an_effect(self) -> "Train":
        kind = self.objective["kind"]
        for key in ("loss_on", "drop_least_likely"):
            if getattr(self, key) != type(self).model_fields[key].default and (self.on_policy or kind == "lm"):
                raise ValueError(f"{key} has no effect on {kind}, which supervises all that it learns from")
        if self.steps_per_generation > 1 and not self.on_policy:
            raise ValueError(
                f"steps_per_generation has no effect on {kind}: its rows are not the student's own samples"
            )
        return self

    def changed(self, overrides: dict[str, Any]) -> "Train":
        """This recipe with some fields replaced. Raises ValueError for what a recipe does not take."""
        return changed(self, "train", overrides)
