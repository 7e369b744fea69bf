"""A study on a real autoscaler, whose nodes are raylets on this machine: the head has no CPUs, as in cluster.yaml."""

import concurrent.futures
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from perf.ray_head import head, wait
from tests.conftest import SMALL, TINY

pytestmark = pytest.mark.slow


def test_a_study_grows_a_cluster_from_its_head_alone_and_leaves_it_so(tmp_path: Path):
    study = yaml.safe_load(SMALL) | {"store": str(tmp_path / "runs")}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    types = {"worker": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2}}
    with head(tmp_path, cpus=0, workers=types) as cluster:
        assert len(cluster.workers) == 0
        arguments = ["run", "small.yaml", "--address", cluster.address, *TINY, "seeds=[1, 2]"]
        most = 0
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(cluster.offmodel, *arguments, folder=tmp_path)
            while not running.done():
                most = max(most, len(cluster.workers))
                concurrent.futures.wait([running], timeout=1)
        ended = running.result()
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert "Cells: score" in ended.stdout
        assert most == 2
        wait(lambda: len(cluster.workers) == 0, lambda: "the nodes do not end")
