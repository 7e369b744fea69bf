"""An MLflow tracking server with PostgreSQL, for tests."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from perf.ray_head import free_port


@contextmanager
def postgresql() -> Iterator[str]:
    """The URI of a PostgreSQL database."""
    folder = Path(tempfile.mkdtemp(prefix="offmodel-postgresql-"))
    user = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root.
        user = ["runuser", "-u", "postgres", "--"]
        shutil.chown(folder, "postgres")
    port = free_port()
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    control = [*user, "pg_ctl", "-D", f"{folder}/data", "-w", "-l", f"{folder}/log"]
    subprocess.run([*user, "initdb", "-D", f"{folder}/data", "-U", "mlflow", "-A", "trust"], check=True, cwd=folder)
    subprocess.run([*control, "-o", options, "start"], check=True, cwd=folder)
    try:
        yield f"postgresql+psycopg2://mlflow@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=True, cwd=folder)
        shutil.rmtree(folder)


class TrackingServer:
    """A tracking server that can be killed and started again."""

    def __init__(self, database: str, artifacts: str):
        port = free_port()
        self.uri = f"http://127.0.0.1:{port}"
        self._command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
        self._command += ["--backend-store-uri", database, "--artifacts-destination", artifacts]

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, start_new_session=True)
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=5):
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                raise AssertionError(f"the server has ended with {self._process.wait(timeout=0.2)}")

    @contextmanager
    def running(self) -> Iterator[None]:
        self.start()
        try:
            yield
        finally:
            self.kill()

    def kill(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
