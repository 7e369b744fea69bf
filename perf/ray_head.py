"""The head of a Ray cluster as a process of its own, with or without an autoscaler whose nodes are raylets here. The
tests use it, too."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID

from perf.processes import command_of, send

BIN = Path(sys.executable).parent
PATIENCE = 600.0  # seconds, for a busy machine
PORTS = ("port", "dashboard-port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port", "ray-client-server-port")
COMMANDS = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")


@dataclass(frozen=True)
class Head:
    address: str  # of the GCS
    dashboard: str
    environment: Mapping[str, str]

    @property
    def workers(self) -> list[psutil.Process]:
        """The raylets of the nodes that the autoscaler has started, oldest first."""
        port = self.address.rpartition(":")[2]
        raylets = [p for p in psutil.process_iter(["name"]) if p.info["name"] == "raylet"]
        own = [p for p in raylets if any(part.endswith(f":{port}") for part in command_of(p))]
        return sorted(own, key=lambda process: process.create_time())[1:]  # The first is the head's.

    def offmodel(self, *arguments: str, folder: Path | None = None, **environment: str) -> subprocess.CompletedProcess:
        command, env = [str(BIN / "offmodel"), *arguments], {**self.environment, **environment}
        return subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=PATIENCE)


def free_port() -> int:
    """A port that nothing listens on, outside the ranges from which Ray's workers and the system take theirs."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as one, suppress(OSError):
            one.bind(("0.0.0.0", port))
            return port


@contextmanager
def head(
    folder: Path, *, cpus: int, token: str | None = None, workers: Mapping[str, Any] | None = None
) -> Iterator[Head]:
    """A head, whose processes end with the test. `workers`: the node types that its autoscaler may start, as in
    `available_node_types` of cluster.yaml."""
    ports = {name: free_port() for name in PORTS}
    address = f"127.0.0.1:{ports['port']}"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    environment["PATH"] = f"{BIN}:{environment['PATH']}"  # as in a terminal with the virtual environment
    environment["PYTHONPATH"] = str(Path(__file__).parents[1])  # Nodes find perf, which is not installed.
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token} if token else {"RAY_AUTH_MODE": "disabled"}
    command = [str(BIN / "ray"), "start", "--head", "--block", f"--num-cpus={cpus}", "--object-store-memory=268435456"]
    scratch = tempfile.mkdtemp(prefix="head")  # The path of a socket has at most 107 bytes.
    command += ["--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", f"--temp-dir={scratch}"]
    command += [f"--{name}={port}" for name, port in ports.items()]
    if workers is not None:
        config = folder / "autoscaling.json"
        config.write_text(json.dumps(autoscaling(cpus, workers, address)))
        command.append(f"--autoscaling-config={config}")
        environment |= {"AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_FAKE_CLUSTER": "1", "RAY_enable_autoscaler_v2": "1"}
        environment |= dict.fromkeys(("RAY_CLOUD_INSTANCE_ID", "RAY_OVERRIDE_NODE_ID_FOR_TESTING"), FAKE_HEAD_NODE_ID)
    log = folder / "head.txt"

    def end() -> None:
        family = [p for p in psutil.process_iter() if scratch in " ".join(command_of(p))]
        send(family, signal.SIGKILL)
        psutil.wait_procs(family, timeout=30)

    def start() -> None:
        with log.open("wb") as output:
            process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
        ready, ended = "This command will now block", lambda: process.poll() is not None
        wait(lambda: ready in log.read_text(), log.read_text, ended)

    try:
        try:
            start()
        except AssertionError:  # Ray gives its processes 30 s to start, which a busy machine may exceed.
            end()
            start()
        yield Head(address, f"http://127.0.0.1:{ports['dashboard-port']}", environment)
    finally:
        end()
        shutil.rmtree(scratch, ignore_errors=True)


def autoscaling(cpus: int, workers: Mapping[str, Any], address: str) -> dict[str, Any]:
    """The configuration of an autoscaler of which each node is a raylet on this machine."""
    module = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"
    return {
        "cluster_name": "test",
        "max_workers": sum(one["max_workers"] for one in workers.values()),
        "idle_timeout_minutes": 0.1,
        "provider": {
            "type": "external",
            "module": module,
            "launch_multiple": True,
            "head_node_id": FAKE_HEAD_NODE_ID,
            "gcs_address": address,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
            "foreground_node_launch": True,
        },
        "head_node_type": "ray.head.default",
        "available_node_types": {
            **workers,
            "ray.head.default": {"resources": {"CPU": cpus}, "node_config": {}, "max_workers": 0},
        },
        "auth": {},
        "file_mounts": {},
        "cluster_synced_files": [],
        **{f"{name}_commands": [] for name in COMMANDS},
    }


def wait(until: Callable[[], bool], text: Callable[[], str], ended: Callable[[], bool] = lambda: False) -> None:
    """Wait for `PATIENCE` at most, or until it cannot come any more; `text` says why it did not."""
    last = time.monotonic() + PATIENCE
    while not until():
        assert not ended(), text()
        assert time.monotonic() < last, text()
        time.sleep(0.5)
