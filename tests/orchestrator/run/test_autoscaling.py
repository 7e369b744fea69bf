"""A study on a real autoscaler, whose nodes are raylets on this machine: the head has no CPUs, as in cluster.yaml."""

import concurrent.futures
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator.plan.build import build_plan
from orchestrator.store.store import Store
from orchestrator.study.load import load_study
from perf.ray_head import head, wait
from tests.conftest import SMALL, TINY

pytestmark = pytest.mark.slow

# One worker of a training takes all CPUs of a node, so its two workers are on two nodes.
TWO_WORKERS = [*TINY, "seeds=[1]", "train.tuning=full", "resources.train={workers: 2, zero: 3}"]


def test_a_cluster_grows_for_a_training_on_two_nodes_and_shrinks_to_its_head(tmp_path: Path):
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    types = {"worker": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2}}
    with head(tmp_path, cpus=0, workers=types) as cluster:
        assert len(cluster.workers) == 0
        arguments = ["run", str(path), "--address", cluster.address, *TWO_WORKERS, f"store={tmp_path / 'two'}"]
        most = 0
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(cluster.offmodel, *arguments)
            while not running.done():
                most = max(most, len(cluster.workers))
                concurrent.futures.wait([running], timeout=1)
        ended = running.result()
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert "Cells: score" in ended.stdout
        assert most == 2
        # The fake nodes do not have Ray's label with their type.
        assert re.search(
            r"^Nodes during the run: 3 node at most, [\d.]+ node hours, \d+% of it idle$", ended.stdout, re.M
        )
        wait(lambda: len(cluster.workers) == 0, lambda: "the nodes do not end")
        ended = cluster.offmodel("run", str(path), *TWO_WORKERS, f"store={tmp_path / 'one'}", "resources.cpus=2")
        assert ended.returncode == 0, ended.stdout + ended.stderr
    assert trained(path, tmp_path / "two") == trained(path, tmp_path / "one")


def trained(path: Path, folder: Path) -> tuple[bytes, bytes]:
    """The student's weights, and the scores."""
    store, study = Store(str(folder)), load_study(path, [*TWO_WORKERS, f"store={folder}"])
    (stage,) = [stage for stage in build_plan(study).stages if stage.kind == "train"]
    record = store.record(stage)
    assert record is not None
    (weights,) = store.folder(stage.address, record).rglob("*.safetensors")
    return weights.read_bytes(), (folder / "reports" / "small" / "scores.csv").read_bytes()
