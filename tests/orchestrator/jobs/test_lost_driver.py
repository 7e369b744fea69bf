"""A study whose store is in S3 and whose runs are on an MLflow server with PostgreSQL: its driver is lost on the
cluster, and the job is submitted again."""

import re
import signal
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from orchestrator.run.mlflow_runs import TRIAL_TAG
from orchestrator.store.store import Store
from perf.faults.stores import s3
from perf.processes import command_of
from perf.ray_head import head, wait
from tests.conftest import SMALL, TINY
from tests.tracking_server import TrackingServer, postgresql

pytestmark = pytest.mark.slow

STUDY = [*TINY, "seeds=[1, 2]"]


def driver(store: str) -> psutil.Process:
    """The process `offmodel run` of a job."""
    wanted = {"run", "--address", f"store={store}"}
    found = [process for process in psutil.process_iter() if wanted <= {*command_of(process)}]
    return max(found, key=lambda process: process.create_time())


@pytest.fixture
def tracking(bucket: str) -> Iterator[TrackingServer]:
    with postgresql() as database:
        server = TrackingServer(database, f"{bucket}/mlflow")
        with server.running():
            yield server


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("OFFMODEL_CACHE", str(tmp_path / "cache"))
    with s3() as uri:
        yield uri


def test_the_job_of_a_lost_driver_continues_when_it_is_submitted_again(tmp_path, bucket, tracking):
    (tmp_path / "small.yaml").write_text(SMALL)
    store, calm = f"{bucket}/runs", tmp_path / "runs"
    with head(tmp_path, cpus=2, token="a" * 64) as cluster:
        submit = ["submit", "small.yaml", "--address", cluster.dashboard, *STUDY, f"store={store}"]
        submit += [f"tracking.uri={tracking.uri}"]
        submitted = cluster.offmodel(*submit, "--no-wait", folder=tmp_path)
        (id,) = re.findall(r"^Submitted as (\S+): small.yaml$", submitted.stdout, re.MULTILINE)
        logs = partial(cluster.offmodel, "logs", id, "--address", cluster.dashboard)
        wait(lambda: bool(Store(store).records_of_kind("sample")), lambda: logs().stdout)
        driver(store).send_signal(signal.SIGKILL)
        assert logs().returncode == 1
        again = cluster.offmodel(*submit, folder=tmp_path)
        assert again.returncode == 0, again.stdout + again.stderr
        assert not re.search(r"Executed: [1-9]\d* model", again.stdout), again.stdout
        undisturbed = cluster.offmodel("run", "small.yaml", *STUDY, f"store={calm}", folder=tmp_path)
        assert undisturbed.returncode == 0, undisturbed.stdout + undisturbed.stderr
    assert Store(store).read("reports/small/scores.csv") == Path(calm, "reports/small/scores.csv").read_bytes()
    client = MlflowClient(tracking.uri)
    experiments = [one.experiment_id for one in client.search_experiments()]
    trials = Counter(run.data.tags.get(TRIAL_TAG) for run in client.search_runs(experiments))
    assert trials.pop(None) == 1  # of the study
    assert list(trials.values()) == [1, 1]
