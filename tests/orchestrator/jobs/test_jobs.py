"""Studies as jobs on a Ray cluster that a token protects: the head is a process of its own, as on a real cluster."""

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from orchestrator.store.store import Store
from perf.ray_head import BIN, PATIENCE, Head, free_port, head
from tests.conftest import SMALL, TINY

pytestmark = pytest.mark.slow

TOKEN, WRONG = "a" * 64, "b" * 64


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Head]:
    with head(tmp_path_factory.mktemp("head"), cpus=2, token=TOKEN) as started:
        yield started


@pytest.fixture
def desk(tmp_path) -> Path:
    """A working directory with a study whose store is shared with the cluster, which is this machine."""
    study = yaml.safe_load(SMALL) | {"store": str(tmp_path / "runs")}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    return tmp_path


def submit(cluster: Head, desk: Path, *options: str) -> subprocess.CompletedProcess:
    return cluster.offmodel(
        "submit", "small.yaml", "--address", cluster.dashboard, *options, *TINY, "seeds=[1]", folder=desk
    )


def id_of(submitted: subprocess.CompletedProcess) -> str:
    (id,) = re.findall(r"^Submitted as (\S+): small.yaml$", submitted.stdout, re.MULTILINE)
    return str(id)


def test_a_study_is_submitted_followed_and_submitted_again(cluster, desk):
    first = submit(cluster, desk)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "Cells: score" in first.stdout
    id = id_of(first)
    assert f"{id}: succeeded" in first.stdout
    listed = cluster.offmodel("status", "--address", cluster.dashboard).stdout
    assert re.search(rf"^{id} +\S+ +succeeded", listed, re.MULTILINE)
    assert "Cells: score" in cluster.offmodel("logs", id, "--address", cluster.dashboard).stdout
    again = submit(cluster, desk)
    assert "small: 1 trials, 1 done" in again.stdout
    assert "Executed" not in again.stdout


def test_a_wrong_token_is_refused(cluster, desk):
    refused = cluster.offmodel(
        "submit", "small.yaml", "--address", cluster.dashboard, *TINY, "seeds=[1]", folder=desk, RAY_AUTH_TOKEN=WRONG
    )
    assert refused.returncode == 2
    assert f"{cluster.dashboard} refuses this token: set RAY_AUTH_MODE=token" in refused.stderr
    assert WRONG not in refused.stderr + refused.stdout


def test_a_stopped_study_continues_when_ray_job_submits_it_again(cluster, desk):
    id = id_of(submit(cluster, desk, "--no-wait"))
    store, until = Store(str(desk / "runs")), time.monotonic() + PATIENCE
    while not store.records_of_kind("sample"):
        assert time.monotonic() < until, cluster.offmodel("logs", id, "--address", cluster.dashboard).stdout
        time.sleep(0.5)
    stopped = cluster.offmodel("stop", id, "--address", cluster.dashboard)
    assert stopped.returncode == 0, stopped.stderr
    logs = cluster.offmodel("logs", id, "--address", cluster.dashboard)
    assert logs.returncode == 130
    assert f"{id}: stopped" in logs.stdout
    command = [BIN / "ray", "job", "submit", "--address", cluster.dashboard, "--working-dir", "."]
    command += ["--", "offmodel", "run", "small.yaml", "--address", "auto", *TINY, "seeds=[1]"]
    finished = subprocess.run(command, env=cluster.environment, cwd=desk, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout
    assert "Cells: score" in finished.stdout
    assert not re.search(r"Executed: [1-9]\d* model", finished.stdout), finished.stdout


def test_what_does_not_answer_is_named(cluster):
    missing = cluster.offmodel("status", "--address", f"http://127.0.0.1:{free_port()}")
    assert missing.returncode == 2
    assert "does not answer: give the address of the cluster's dashboard" in missing.stderr


def test_a_job_that_is_not_there_is_named(cluster):
    missing = cluster.offmodel("logs", "none-1234", "--address", cluster.dashboard)
    assert missing.returncode == 2
    assert "`offmodel status` lists the jobs" in missing.stderr
