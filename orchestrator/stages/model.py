"""The stage `model`: a checkpoint to start from. Organisms are unpacked or trained; other models are referred to."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluators.imports import IMPORTS
from evaluators.suggest import did_you_mean
from orchestrator.stages.api_models import APISettings, api_settings
from orchestrator.store.checkpoints import folder_checksums
from orchestrator.store.context import StageContext
from orchestrator.store.stage import Runtime, Stage
from orchestrator.study.models import HubModel, LocalModel, Model, OrganismModel
from organisms import shipped
from organisms.recipes import RECIPES, Recipe

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class ShippedOrganism:
    """A toy model whose weights are part of the package; `sha256` by file name."""

    organism: str
    sha256: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class TrainedOrganism:
    """A toy model that is pretrained by its recipe."""

    recipe: Recipe


@dataclass(frozen=True, kw_only=True)
class HubCheckpoint:
    hub: str
    revision: str


@dataclass(frozen=True, kw_only=True)
class LocalCheckpoint:
    """A checkpoint in a local folder, `runtime.path`; `sha256` by file name."""

    sha256: Mapping[str, str]


ModelSettings = ShippedOrganism | TrainedOrganism | HubCheckpoint | LocalCheckpoint | APISettings


@dataclass(frozen=True, kw_only=True)
class ModelRuntime(Runtime):
    path: str | None = None


def stage(alias: str, model: Model, cpus: float) -> Stage:
    """A model of the study. Raises ValueError for an unknown organism or a folder without a checkpoint."""
    settings: ModelSettings
    name, runtime = "local", ModelRuntime(engine=alias)
    if isinstance(model, OrganismModel):
        if model.organism not in RECIPES:
            raise ValueError(f'models.{alias}: no organism "{model.organism}"; {did_you_mean(model.organism, RECIPES)}')
        name = model.organism
        # All organisms have one architecture, so one engine serves them all.
        if model.rebuild:
            settings = TrainedOrganism(recipe=RECIPES[model.organism])
            runtime = ModelRuntime(engine="organisms", cpus=cpus)
        else:
            settings = ShippedOrganism(organism=model.organism, sha256=shipped.checksums(model.organism))
            runtime = ModelRuntime(engine="organisms")
    elif model.served is not None:
        name, settings = model.served.model, api_settings(model.served)
    elif isinstance(model, HubModel):
        name, settings = model.hub, HubCheckpoint(hub=model.hub, revision=model.revision)
    else:
        assert isinstance(model, LocalModel)
        folder = Path(model.path).resolve()
        if not (folder / "config.json").is_file():
            raise ValueError(f"models.{alias}: {model.path} is not a checkpoint: it has no config.json")
        settings = LocalCheckpoint(sha256=folder_checksums(folder))
        runtime = ModelRuntime(engine=alias, path=str(folder))
    # The alias is not part of the name: the same model under another alias has the same address.
    return Stage("model", VERSION, name.rsplit("/", 1)[-1], settings, runtime=runtime)


def run(context: StageContext) -> dict[str, Any]:
    settings: ModelSettings = context.stage.settings
    match settings:
        case APISettings():
            return {"api": settings.model}
        case HubCheckpoint():
            with IMPORTS:
                from huggingface_hub import model_info

            commit = model_info(settings.hub, revision=settings.revision).sha
            return {"hub": settings.hub, "commit": commit}
        case LocalCheckpoint():
            return {}
        case ShippedOrganism():
            shipped.unpack(settings.organism, context.out)
            return {}
    with IMPORTS:
        from organisms.pretrain import pretrain

    losses: list[float] = []
    cpus = int(context.stage.runtime.cpus)
    pretrain(settings.recipe, context.out, cpus, lambda step, loss: losses.append(loss))
    return {"steps": len(losses), "last_loss": losses[-1]}
