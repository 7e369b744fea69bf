"""The OpenAI-compatible endpoint: it passes each request on to the server that has the request's model."""

import json
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from orchestrator.serving.servers import Servers

NOT_PASSED_ON = {"host", "authorization", "content-length", "connection", "accept-encoding"}
HOP_BY_HOP = {"content-length", "transfer-encoding", "connection", "content-encoding"}


def router(bases: Mapping[str, str], servers: Servers, server_key: str, key: str | None) -> Any:
    """The ASGI app. `bases`: the base of each model, by its name. `server_key`: the key of the servers behind. `key`:
    what a caller must have, None for none."""
    import httpx
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response, StreamingResponse
    from starlette.routing import Route

    began = int(time.time())
    client = httpx.AsyncClient(timeout=None)

    def error(status: int, message: str) -> Response:
        kind = {400: "BadRequestError", 401: "AuthenticationError", 404: "NotFoundError"}.get(status, "ServerError")
        return JSONResponse({"error": {"message": message, "type": kind, "code": status}}, status)

    def allowed(request: Request) -> bool:
        given = request.headers.get("authorization", "")
        return key is None or secrets.compare_digest(given.encode(), f"Bearer {key}".encode())

    async def models(request: Request) -> Response:
        if not allowed(request):
            return error(401, "this server needs a key: send it as a bearer token")
        data = [{"id": name, "object": "model", "created": began, "owned_by": "offmodel"} for name in bases]
        return JSONResponse({"object": "list", "data": data})

    async def pass_on(request: Request) -> Response:
        if not allowed(request):
            return error(401, "this server needs a key: send it as a bearer token")
        body = await request.body()
        try:
            name = json.loads(body)["model"]
        except (ValueError, KeyError, TypeError):
            return error(400, 'the request must be a JSON object with "model"')
        if not isinstance(name, str) or name not in bases:
            return error(404, f"there is no model {name!r}: /v1/models lists those of this study")
        stack = AsyncExitStack()
        try:
            url = await stack.enter_async_context(servers.of(bases[name]))
            headers = {key: value for key, value in request.headers.items() if key not in NOT_PASSED_ON}
            headers["authorization"] = f"Bearer {server_key}"
            asked = client.build_request("POST", url + request.url.path, content=body, headers=headers)
            answer = await client.send(asked, stream=True)
            stack.push_async_callback(answer.aclose)
        except (RuntimeError, httpx.TransportError) as failure:
            await stack.aclose()
            return error(502, f"the server of {name} failed: {failure}")
        except BaseException:
            await stack.aclose()
            raise

        async def content() -> AsyncIterator[bytes]:
            async with stack:  # The server stays until the caller has the whole answer, or is gone.
                async for part in answer.aiter_bytes():
                    yield part

        headers = {name: value for name, value in answer.headers.items() if name not in HOP_BY_HOP}
        return StreamingResponse(content(), answer.status_code, headers)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await servers.stop()
        await client.aclose()

    routes = [
        Route("/health", lambda request: Response(), methods=["GET"]),
        Route("/v1/models", models, methods=["GET"]),
        Route("/v1/{path:path}", pass_on, methods=["POST"]),
    ]
    return Starlette(routes=routes, lifespan=lifespan)
