"""The stage `model`: a checkpoint to start from. Organisms are unpacked, or trained anew; others are referred to."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from evaluators.suggest import did_you_mean
from orchestrator.stages import api_models
from orchestrator.store.context import StageContext
from orchestrator.store.stage import Stage
from orchestrator.store.store import sha256_file
from orchestrator.study.models import HubModel, LocalModel, Model, OrganismModel
from organisms import shipped
from organisms.recipes import RECIPES

VERSION = 1
IDENTIFYING = ("*.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def stage(alias: str, model: Model, cpus: float) -> Stage:
    """A model of the study. Raises ValueError where there is no such organism or folder."""
    settings: dict[str, Any]
    runtime: dict[str, Any] = {"engine": alias}
    if isinstance(model, OrganismModel):
        if model.organism not in RECIPES:
            raise ValueError(f'models.{alias}: no organism "{model.organism}"; {did_you_mean(model.organism, RECIPES)}')
        runtime["engine"] = "organisms"  # One shape: one engine serves them all.
        if model.rebuild:
            settings = {"organism": asdict(RECIPES[model.organism])}
            runtime["cpus"] = cpus
        else:
            settings = {"organism": model.organism, "sha256": shipped.checksums(model.organism)}
    elif model.served is not None:
        settings = {"api": model.served.model, "base_url": model.served.base_url, **api_models.asked_with(model.served)}
    elif isinstance(model, HubModel):
        settings = {"hub": model.hub, "revision": model.revision}
    else:
        assert isinstance(model, LocalModel)
        folder = Path(model.path).resolve()
        if not (folder / "config.json").is_file():
            raise ValueError(f"models.{alias}: {model.path} is not a checkpoint: it has no config.json")
        settings = {"sha256": folder_checksums(folder)}
        runtime["path"] = str(folder)
    # Named by what it is, as every stage: an alias may change, and the same stage must lie where it lay.
    name = str(next((settings[key] for key in ("hub", "api") if key in settings), getattr(model, "organism", "local")))
    name = name.rsplit("/", 1)[-1]
    return Stage("model", VERSION, name, settings, runtime=runtime)


def folder_checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of the files that make a checkpoint what it is, by name."""
    files = sorted(path for pattern in IDENTIFYING for path in folder.glob(pattern))
    return {path.name: sha256_file(path) for path in files}


def run(work: StageContext) -> dict[str, Any]:
    settings, runtime = work.stage.settings, work.stage.runtime
    if api_models.is_api(work.stage):
        return {"api": settings["api"]}
    if "hub" in settings:
        import huggingface_hub

        return {
            "hub": settings["hub"],
            "commit": huggingface_hub.model_info(settings["hub"], revision=settings["revision"]).sha,
        }
    if "path" in runtime:
        return {"path": runtime["path"]}
    if isinstance(settings["organism"], str):
        shipped.unpack(settings["organism"], work.out)
        return {}
    from organisms.pretrain import pretrain
    from organisms.recipes import Recipe

    losses: list[float] = []
    pretrain(Recipe(**settings["organism"]), work.out, int(runtime["cpus"]), lambda step, loss: losses.append(loss))
    return {"steps": len(losses), "last_loss": losses[-1]}
