"""Which servers run, and which requests wait for others."""

import asyncio
from collections.abc import Callable

import pytest

from orchestrator.serving.servers import Servers


class Started:
    """Notes what starts and stops. A base whose name begins with "bad" does not start."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.running: set[str] = set()

    async def __call__(self, base: str, place: int) -> "One":
        await asyncio.sleep(0)
        if base.startswith("bad"):
            raise RuntimeError(f"{base} ended")
        self.events.append(f"+{base}")
        self.running.add(base)
        return One(base, self)


class One:
    def __init__(self, base: str, started: Started):
        self.url, self._base, self._started = f"http://{base}", base, started

    async def stop(self) -> None:
        self._started.events.append(f"-{self._base}")
        self._started.running.discard(self._base)


async def ask(servers: Servers, base: str, until: asyncio.Event | None = None) -> str:
    async with servers.of(base) as url:
        if until is not None:
            await until.wait()
        return url


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def run(places: int, act: Callable) -> list[str]:
    started = Started()

    async def whole() -> None:
        servers = Servers(started, places)
        await act(servers, started)
        await servers.stop()

    asyncio.run(asyncio.wait_for(whole(), 10))
    assert not started.running
    return started.events


def test_requests_for_one_base_share_its_server():
    async def act(servers, started):
        assert await asyncio.gather(*(ask(servers, "a") for _ in range(5))) == ["http://a"] * 5

    assert run(2, act) == ["+a", "-a"]


def test_a_server_is_replaced_once_its_requests_are_answered():
    async def act(servers, started):
        done = asyncio.Event()
        first = asyncio.create_task(ask(servers, "a", done))
        await settle()
        second = asyncio.create_task(ask(servers, "b"))
        await settle()
        late = asyncio.create_task(ask(servers, "a"))
        await settle()
        assert started.running == {"a"}
        assert [second.done(), late.done()] == [False, False]
        done.set()
        assert await asyncio.gather(first, second, late) == ["http://a", "http://b", "http://a"]

    assert run(1, act) == ["+a", "-a", "+b", "-b", "+a", "-a"]


def test_the_server_that_was_used_least_recently_makes_room():
    async def act(servers, started):
        for base in ("a", "b", "a", "c", "a"):
            await ask(servers, base)

    assert run(2, act) == ["+a", "+b", "-b", "+c", "-a", "-c"]


def test_a_server_that_does_not_start_fails_its_requests_only():
    async def act(servers, started):
        with pytest.raises(RuntimeError, match="bad ended"):
            await ask(servers, "bad")
        assert await ask(servers, "a") == "http://a"

    assert run(1, act) == ["+a", "-a"]


def test_a_caller_that_is_gone_gives_its_place_back():
    async def act(servers, started):
        gone = asyncio.create_task(ask(servers, "a", asyncio.Event()))
        await settle()
        waiting = asyncio.create_task(ask(servers, "b"))
        await settle()
        waiting.cancel()
        await settle()
        other = asyncio.create_task(ask(servers, "c"))
        await settle()
        gone.cancel()
        assert await other == "http://c"

    assert run(1, act) == ["+a", "-a", "+c", "-c"]
