"""`offmodel serve`: the models of a study and its trained students behind an OpenAI-compatible endpoint."""

import asyncio
import os
import secrets
from collections.abc import Mapping

from rich.console import Console
from rich.markup import escape

from orchestrator.plan.resources import on_this_machine
from orchestrator.plan.trial import Plan
from orchestrator.serving.command import server_command
from orchestrator.serving.models import by_base, served_models
from orchestrator.serving.process import ServerProcess, free_port
from orchestrator.serving.router import router
from orchestrator.serving.servers import Servers
from orchestrator.store.store import Store
from orchestrator.study.settings import StudyError

KEY = "OFFMODEL_SERVE_KEY"
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def serve(plan: Plan, store: Store, host: str, port: int, console: Console) -> None:
    """Serve until the process is ended. Raises StudyError if nothing is trained, and for another address than loopback
    without a key in the environment."""
    import uvicorn

    key = os.environ.get(KEY) or None
    if host not in LOOPBACK and key is None:
        raise StudyError(
            f"--host {host}: set {KEY} in the environment to a key that callers must send, or use 127.0.0.1"
        )
    models = served_models(plan, store)
    if not models:
        raise StudyError(f"{plan.study.store} has no model of {plan.study.name} yet: offmodel run it first")
    bases, server_key = by_base(models), secrets.token_urlsafe()
    places = _places(plan, bases)

    async def start(base: str, place: int) -> ServerProcess:
        own = free_port()
        command = server_command(bases[base], plan.study, store, plan.lora_rank, own, server_key, places[place])
        return await ServerProcess.start(command, f"http://127.0.0.1:{own}")

    names = {model.name: base for base, each in bases.items() for model in each}
    for name in names:
        console.print(escape(name))
    needs = f"with the key in {KEY}" if key else "without a key"
    counts = f"{len(names)} models of {len(bases)} base models"
    console.print(
        f"{counts} at http://{host}:{port}/v1, {needs}. At most {len(places)} of the base models run at once. A server "
        f"starts with the first request for a model of its base.",
        soft_wrap=True,
        markup=False,
    )
    app = router(names, Servers(start, len(places)), server_key, key)
    asyncio.run(uvicorn.Server(uvicorn.Config(app, host=host, port=port, log_level="warning")).serve())


def _places(plan: Plan, bases: Mapping[str, list]) -> list[str]:
    """The numbers of the GPUs for each server that may run at once; one server on the CPU."""
    engines = [plan.study.resources.of_engine(models[0].base.runtime.engine) for models in bases.values()]
    each, there = max(engine.gpus for engine in engines), int(on_this_machine(plan.study)["GPU"])
    if not each:
        return [""]
    if there < each:
        raise StudyError(f"resources: a model needs {each} GPUs, and there are {there}: lower the engine's gpus")
    return [",".join(map(str, range(first, first + each))) for first in range(0, there - each + 1, each)]
