"""vLLM servers, one for each base model, of which as many run at once as there is room for.

A request for a model whose server does not run takes the place of the server that was used least recently, once that
one has answered its requests. Requests that come later for that one wait behind it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol


class Server(Protocol):
    url: str

    async def stop(self) -> None: ...


@dataclass(eq=False)
class Place:
    """A place for one server. `base`: of the server that runs there, or starts. `users`: requests that it answers."""

    number: int
    base: str | None = None
    server: Server | None = None
    users: int = 0
    used: int = 0  # when it was used last, as a count of requests
    ending: bool = False  # A request for another base waits until `users` have their answers.

    @property
    def starting(self) -> bool:
        return self.base is not None and self.server is None


class Servers:
    """`start(base, place)` starts the server of a base model; it raises RuntimeError if that server ends."""

    def __init__(self, start: Callable[[str, int], Awaitable[Server]], places: int):
        self._start = start
        self._places = [Place(number) for number in range(places)]
        self._changed = asyncio.Condition()
        self._requests = 0

    @contextlib.asynccontextmanager
    async def of(self, base: str) -> AsyncIterator[str]:
        """The URL of a server that has this base model, which runs at least until the end of the block."""
        place = await self._take(base)
        try:
            assert place.server is not None
            yield place.server.url
        finally:
            async with self._changed:
                place.users -= 1
                self._changed.notify_all()

    async def _take(self, base: str) -> Place:
        async with self._changed:
            while True:
                place = next((one for one in self._places if one.base == base and not one.ending), None)
                if place is None:
                    free = [one for one in self._places if not one.ending and not one.starting]
                    if free:
                        await self._replace(min(free, key=lambda one: one.used), base)
                        continue
                elif place.server is not None:
                    self._requests += 1
                    place.users, place.used = place.users + 1, self._requests
                    return place
                await self._changed.wait()

    async def _replace(self, place: Place, base: str) -> None:
        """Start the server of a base in this place, after the one that runs there has answered its requests. Called
        with the lock, which others have meanwhile."""
        place.ending = True
        try:
            while place.users:
                await self._changed.wait()
        finally:
            place.ending = False
            self._changed.notify_all()
        ended, place.server, place.base = place.server, None, base
        self._changed.release()
        try:
            if ended is not None:
                await ended.stop()
            place.server = await self._start(base, place.number)
        except BaseException:
            place.base = None
            raise
        finally:
            await self._changed.acquire()
            self._changed.notify_all()

    async def stop(self) -> None:
        for place in self._places:
            if place.server is not None:
                await place.server.stop()
