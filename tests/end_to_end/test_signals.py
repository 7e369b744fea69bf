"""What a driver that ends leaves on a Ray cluster: no engine, whichever way it ends. And how `offmodel ui` ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import ray
from ray import serve

from orchestrator.run import engine_lifetime
from organisms import shipped

pytestmark = pytest.mark.slow

STUDY = Path(__file__).parents[2] / "experiments" / "demo.yaml"
OFFMODEL = str(Path(sys.executable).with_name("offmodel"))
ALIAS = "ä b#"  # Serve's controller fails on an application's name that is not ASCII
LONG = 300.0  # seconds, longer than any wait in these tests


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a Ray with four CPUs, to which this process is connected."""
    ray.init("local", num_cpus=4, include_dashboard=False, object_store_memory=256 << 20, log_to_driver=False)
    yield ray.get_runtime_context().gcs_address
    serve.shutdown()
    ray.shutdown()


def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.2)


def applications() -> list[str]:
    return [name for name in serve.status().applications if name.startswith("offmodel-")]


def actors() -> list[str]:
    """The actors of runs: event logs, watchdogs and engines."""
    names = (actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True))
    return [name for name in names if name.startswith(("offmodel-", "watchdog-", "SERVE_REPLICA::offmodel-"))]


@pytest.fixture
def driver(cluster, tmp_path) -> Iterator[subprocess.Popen]:
    """A driver whose two engines are deployed, and whose trial has finished a stage."""
    models = {"student": "organism:steps", ALIAS: str(shipped.FOLDER / "words")}
    pairs = "pairs={students: [student], teachers: ['" + ALIAS + "']}"
    small = [f"models={json.dumps(models)}", pairs, f"store={tmp_path / 'runs'}", "prompts.n=32", "seeds=[7]"]
    more = ["conditions={off-model: }", "recoveries={}", "hypotheses=[]"]
    command = [OFFMODEL, "run", str(STUDY), "--address", cluster, *small, *more]
    with (tmp_path / "printed").open("w") as printed:
        running = subprocess.Popen(command, stdout=printed, stderr=subprocess.STDOUT)

    def works() -> bool:
        assert running.poll() is None, (tmp_path / "printed").read_text()
        return len(applications()) == 2 and any(tmp_path.glob("runs/model/*/record.json"))

    until(works, "no engines, or no stage")
    yield running
    running.kill()
    running.wait()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_driver_that_is_asked_to_end_ends_its_engines_first(driver, tmp_path, number, status):
    driver.send_signal(number)
    assert driver.wait(LONG) == status, (tmp_path / "printed").read_text()
    assert applications() == []
    assert "Traceback" not in (tmp_path / "printed").read_text()
    until(lambda: actors() == [], "actors of the run are left")


def test_the_engines_of_a_killed_driver_end(driver):
    driver.kill()
    until(lambda: applications() == [] and actors() == [], "engines are left")


def test_a_run_deletes_the_engines_of_ended_runs_alone(cluster):
    @serve.deployment(ray_actor_options={"num_cpus": 0})
    class Engine:
        pass

    log = engine_lifetime.start_event_log("aaaaaaaa")
    ended, alive = (engine_lifetime.application(run, "student") for run in ("bbbbbbbb", "aaaaaaaa"))
    for name in (ended, alive, "offmodel-of-another"):
        serve.run(Engine.bind(), name=name, route_prefix=None)
    engine_lifetime.delete_applications_of_ended_runs()
    until(lambda: ended not in applications(), "the engine of an ended run is left")
    assert sorted(applications()) == sorted([alive, "offmodel-of-another"])
    engine_lifetime.delete_applications("aaaaaaaa")
    assert applications() == ["offmodel-of-another"]
    serve.delete("offmodel-of-another")
    ray.kill(log)


def test_sigterm_ends_all_processes_of_the_ui(tmp_path):
    from mlflow import MlflowClient

    (tmp_path / "runs").mkdir()
    MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db").create_experiment("offmodel")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [OFFMODEL, "ui", str(STUDY), f"store={tmp_path / 'runs'}", "--port", str(port)]
    ui = psutil.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ})

    def answers() -> bool:
        assert ui.poll() is None, ui.stdout.read()
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10).status == 200
        except OSError:
            return False

    until(answers, "the server does not start")
    processes = [ui, *ui.children(recursive=True)]
    assert len(processes) > 1
    ui.send_signal(signal.SIGTERM)
    _, left = psutil.wait_procs(processes, timeout=60)
    for process in left:
        process.kill()
    assert left == []
