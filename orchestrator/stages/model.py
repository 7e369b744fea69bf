"""The stage `model`: a checkpoint to start from.

Organisms are unpacked or trained, and GGUF files converted. Other models are referred to.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluators.imports import IMPORTS
from evaluators.suggest import did_you_mean
from orchestrator.stages import gguf
from orchestrator.stages.api_models import APISettings, api_settings
from orchestrator.store.checkpoints import file_checksum, folder_checksums, has_changed
from orchestrator.store.context import StageContext
from orchestrator.store.stage import Runtime, Stage
from orchestrator.study.models import GGUFModel, HubModel, LocalModel, Model, OrganismModel
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


@dataclass(frozen=True, kw_only=True)
class GGUFCheckpoint:
    """The GGUF file `runtime.gguf`, by its SHA-256, converted by this version of gguf.py."""

    gguf_sha256: str
    version: int


ModelSettings = ShippedOrganism | TrainedOrganism | HubCheckpoint | LocalCheckpoint | GGUFCheckpoint | APISettings


@dataclass(frozen=True, kw_only=True)
class ModelRuntime(Runtime):
    path: str | None = None
    gguf: str | None = None


def stage(alias: str, model: Model, cpus: float) -> Stage:
    """A model of the study. Raises ValueError for an unknown organism, and for files that are missing."""
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
    elif isinstance(model, GGUFModel):
        file = gguf.path_of(alias, model)
        name, settings = "gguf", GGUFCheckpoint(gguf_sha256=file_checksum(file), version=gguf.VERSION)
        runtime = ModelRuntime(engine=alias, cpus=cpus, gguf=str(file))
    else:
        assert isinstance(model, LocalModel)
        folder = Path(model.path).resolve()
        if not (folder / "config.json").is_file():
            what = "a GGUF file: write gguf in place of path" if folder.suffix == ".gguf" else "it has no config.json"
            raise ValueError(f"models.{alias}: {model.path} is not a checkpoint: {what}")
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
        case GGUFCheckpoint():
            return _converted(Path(context.stage.runtime.gguf), settings.gguf_sha256, context.out)
        case ShippedOrganism():
            shipped.unpack(settings.organism, context.out)
            return {}
    with IMPORTS:
        from organisms.pretrain import pretrain

    losses: list[float] = []
    cpus = int(context.stage.runtime.cpus)
    pretrain(settings.recipe, context.out, cpus, lambda step, loss: losses.append(loss))
    return {"steps": len(losses), "last_loss": losses[-1]}


def _converted(file: Path, sha256: str, out: Path) -> dict[str, Any]:
    if file_checksum(file) != sha256:
        raise has_changed(file)
    name = gguf.convert(file, out)
    if file_checksum(file) != sha256:  # It was written while it was read.
        raise has_changed(file)
    return {"name": name}
