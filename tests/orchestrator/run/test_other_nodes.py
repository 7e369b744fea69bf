"""A real engine whose model is on two nodes, which are raylets on this machine."""

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import ray
from ray import serve
from ray.cluster_utils import Cluster

from evaluators.engines.requests import Request, SamplingParams
from orchestrator.run.allocator import start_allocator
from orchestrator.run.engine_client import EngineLost
from orchestrator.run.engine_lifetime import delete_applications, start_event_log
from orchestrator.run.engines import batch, deploy, most, shares
from orchestrator.run.replica import NODE_LOST
from orchestrator.stages import model
from orchestrator.store.context import Weights
from orchestrator.store.stage import Runtime, Stage
from orchestrator.store.store import Store
from orchestrator.study.models import LocalModel
from perf.processes import command_of
from tests.even_heads import write_with_even_heads

pytestmark = pytest.mark.slow

REQUESTS = [Request(prompt=[{"role": "user", "content": f"describe red fox {i}"}], number=i) for i in range(3)]


@pytest.fixture
def two_nodes() -> Iterator[None]:
    """A cluster of two nodes with one CPU each."""
    node = {"num_cpus": 1, "object_store_memory": 128 << 20}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    cluster.add_node(**node)
    ray.init(cluster.address, log_to_driver=False)
    yield
    serve.shutdown()
    ray.shutdown()
    cluster.shutdown()


def texts(run: str, weights: Weights) -> list[str]:
    chunks = batch(run, "organisms", weights, "generate", REQUESTS, (SamplingParams(max_tokens=12),))
    found = dict(pair for chunk in chunks if isinstance(chunk, list) for pair in chunk)
    return [found[i].completions[0].text for i in range(len(REQUESTS))]


def parts() -> list[psutil.Process]:
    """The processes that hold a part of a model on another node than the replica's."""
    return [one for one in psutil.process_iter() if "".join(command_of(one)).startswith("ray::Part")]


@pytest.mark.usefixtures("two_nodes")
def test_an_engine_on_two_nodes_has_the_texts_of_one_and_survives_the_loss_of_a_node(small, publish, tmp_path: Path):
    folders = [tmp_path / name for name in ("first", "second", "adapter")]
    write_with_even_heads(*folders)
    store = Store(small().store)
    bases = [model.stage(path.name, LocalModel(path=str(path)), cpus=1) for path in folders[:2]]
    for base in bases:
        publish(store, base, {})
    adapter = Stage("train", 1, "one", {"n": 1}, {}, Runtime())
    publish(store, adapter, {file.name: file.read_bytes() for file in folders[2].iterdir()})
    weights = [Weights.of(bases[0]), Weights.of(bases[0], adapter.address), Weights.of(bases[1])]
    answers = {}
    for run, settings in {"aaaaaaaa": "{cpus: 1}", "bbbbbbbb": "{cpus: 2, tensor_parallel_size: 2, nodes: 2}"}.items():
        study = small(f"resources.engine={settings}")
        _log, allocator = start_event_log(run), start_allocator(run, shares(study, ["organisms"]), most(study), {})
        deploy(run, study, ["organisms"], lora_rank=8)
        ray.get(allocator.use_engine.remote(("trial", "stage"), "organisms"))
        answers[run] = [texts(run, each) for each in weights]
        for part in parts():
            part.kill()
            with pytest.raises(EngineLost, match=NODE_LOST):
                texts(run, weights[0])
            assert texts(run, weights[0]) == answers[run][0]
        free = ray.available_resources().get("CPU", 0.0)
        assert free == 2 - study.resources.engine.cpus
        ray.get(allocator.release.remote(("trial", "stage")))
        delete_applications(run)
    assert answers["aaaaaaaa"] == answers["bbbbbbbb"]
    assert len({text for each in answers["aaaaaaaa"] for text in each}) == len(weights) * len(REQUESTS)
