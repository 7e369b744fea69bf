"""A vLLM server as a child process."""

import asyncio
import ctypes
import os
import signal
import socket
import tempfile
from pathlib import Path

from orchestrator.serving.command import ServerCommand

LOOK_SECONDS = 0.5  # between two looks at whether the server answers
STOP_SECONDS = 10.0  # after which a server that does not end is killed
SHOWN = 20  # last lines of the output of a server that ended
PR_SET_PDEATHSIG = 1


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def _end_with_parent() -> None:
    """Let this process end with its parent, also if that is killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class ServerProcess:
    """Runs in a process group of its own, which ends as a whole. Its output is kept in a file until it ends."""

    def __init__(self, process: asyncio.subprocess.Process, url: str, output: Path):
        self._process, self.url, self._output = process, url, output

    @classmethod
    async def start(cls, command: ServerCommand, url: str) -> "ServerProcess":
        """Start a server, and wait until it answers. Raises RuntimeError, with its last lines, if it ends before."""
        with tempfile.NamedTemporaryFile(prefix="offmodel-serve-", suffix=".log", delete=False) as output:
            process = await asyncio.create_subprocess_exec(
                *command.arguments,
                env=os.environ | dict(command.environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
        made = cls(process, url, Path(output.name))
        try:
            await made._wait_until_ready()
        except BaseException:
            await made.stop()
            raise
        return made

    async def _wait_until_ready(self) -> None:
        import httpx

        async with httpx.AsyncClient(timeout=10) as client:
            while True:
                if self._process.returncode is not None:
                    last = "\n".join(self._output.read_text(errors="replace").splitlines()[-SHOWN:])
                    raise RuntimeError(f"vLLM's server ended with status {self._process.returncode}:\n{last}")
                try:
                    if (await client.get(f"{self.url}/health")).is_success:
                        return
                except httpx.TransportError:
                    pass
                await asyncio.sleep(LOOK_SECONDS)

    async def stop(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._process.returncode is None:
                os.killpg(self._process.pid, number)
                try:
                    await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
                except TimeoutError:
                    continue
        self._output.unlink(missing_ok=True)
