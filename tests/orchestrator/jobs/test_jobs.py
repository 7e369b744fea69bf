"""Studies as jobs on a Ray cluster that a token protects: the head is a process of its own, as on a real cluster."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from orchestrator.store.store import Store
from tests.conftest import SMALL

pytestmark = pytest.mark.slow

BIN = Path(sys.executable).parent
TOKEN, WRONG = "a" * 64, "b" * 64
TINY = [
    "pairs.teachers=[words]",
    "prompts={source: synthetic, n: 16}",
    "conditions={off-model: }",
    "recoveries={}",
    "seeds=[1]",
    "train.max_steps=2",
    "benchmarks={maths: {kind: math500, source: synthetic, n: 4, max_tokens: 16}}",
]
PATIENCE = 240.0  # seconds


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def environment(token: str) -> dict[str, str]:
    return {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory) -> Iterator[str]:
    """The address of a head that the test starts with a token; its processes end with the test."""
    ports = {name: free_port() for name in ("port", "dashboard-port", "dashboard-agent-listen-port")}
    command = [BIN / "ray", "start", "--head", "--block", "--num-cpus=2", "--dashboard-host=127.0.0.1"]
    command += [f"--{name}={port}" for name, port in ports.items()]
    command += [f"--temp-dir={tmp_path_factory.mktemp('ray', numbered=False)}", "--object-store-memory=268435456"]
    address = f"http://127.0.0.1:{ports['dashboard-port']}"
    log = tmp_path_factory.mktemp("head") / "log.txt"
    with log.open("wb") as output:
        head = subprocess.Popen(command, env=environment(TOKEN), stdout=output, stderr=output, start_new_session=True)
    until = time.monotonic() + PATIENCE
    while offmodel("status", "--address", address).returncode:
        assert head.poll() is None, log.read_text()
        assert time.monotonic() < until, log.read_text()
        time.sleep(1)
    yield address
    family = [psutil.Process(head.pid), *psutil.Process(head.pid).children(recursive=True)]
    for process in family:
        process.send_signal(signal.SIGKILL)
    psutil.wait_procs(family, timeout=30)


def offmodel(*arguments: str, token: str = TOKEN, folder: Path | None = None) -> subprocess.CompletedProcess:
    command = [BIN / "offmodel", *arguments]
    return subprocess.run(command, env=environment(token), cwd=folder, capture_output=True, text=True, timeout=PATIENCE)


@pytest.fixture
def desk(tmp_path) -> Path:
    """A working directory with a study whose store is shared with the cluster, which is this machine."""
    study = yaml.safe_load(SMALL) | {"store": str(tmp_path / "runs")}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    return tmp_path


def test_a_study_is_submitted_followed_and_submitted_again(dashboard, desk):
    first = offmodel("submit", "small.yaml", "--address", dashboard, *TINY, folder=desk)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "Cells: score" in first.stdout
    (id,) = re.findall(r"^Submitted as (\S+): small.yaml$", first.stdout, re.MULTILINE)
    assert f"{id}: succeeded" in first.stdout
    listed = offmodel("status", "--address", dashboard).stdout
    assert re.search(rf"^{id} +\S+ +succeeded", listed, re.MULTILINE)
    assert "Cells: score" in offmodel("logs", id, "--address", dashboard).stdout
    again = offmodel("submit", "small.yaml", "--address", dashboard, *TINY, folder=desk)
    assert re.search(r"Executed: 0 model, .* 0 train", again.stdout), again.stdout


def test_a_wrong_token_is_refused(dashboard, desk):
    refused = offmodel("submit", "small.yaml", "--address", dashboard, *TINY, token=WRONG, folder=desk)
    assert refused.returncode == 2
    assert f"{dashboard} refuses this token: set RAY_AUTH_MODE=token" in refused.stderr
    assert WRONG not in refused.stderr + refused.stdout


def test_a_stopped_study_continues_when_it_is_submitted_again(dashboard, desk):
    submitted = offmodel("submit", "small.yaml", "--no-wait", "--address", dashboard, *TINY, folder=desk)
    (id,) = re.findall(r"^Submitted as (\S+):", submitted.stdout, re.MULTILINE)
    store, until = Store(str(desk / "runs")), time.monotonic() + PATIENCE
    while not store.records_of_kind("sample"):
        assert time.monotonic() < until, offmodel("logs", id, "--address", dashboard).stdout
        time.sleep(0.5)
    stopped = offmodel("stop", id, "--address", dashboard)
    assert stopped.returncode == 0, stopped.stderr
    logs = offmodel("logs", id, "--address", dashboard)
    assert logs.returncode == 130
    assert f"{id}: stopped" in logs.stdout
    finished = offmodel("submit", "small.yaml", "--address", dashboard, *TINY, folder=desk)
    assert finished.returncode == 0, finished.stdout
    assert not re.search(r"Executed: 1 model", finished.stdout), finished.stdout


def test_what_does_not_answer_is_named(desk):
    missing = offmodel("status", "--address", f"http://127.0.0.1:{free_port()}")
    assert missing.returncode == 2
    assert "does not answer: give the address of the cluster's dashboard" in missing.stderr


def test_a_job_that_is_not_there_is_named(dashboard):
    missing = offmodel("logs", "none-1234", "--address", dashboard)
    assert missing.returncode == 2
    assert "`offmodel status` lists the jobs" in missing.stderr
