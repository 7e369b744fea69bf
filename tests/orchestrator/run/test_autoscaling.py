"""A study on a real autoscaler, whose nodes are raylets on this machine: the head has no CPUs, as in cluster.yaml."""

import subprocess
import threading
from pathlib import Path

import pytest
import yaml

from perf.ray_head import head, wait
from tests.conftest import SMALL

pytestmark = pytest.mark.slow

TINY = [
    "pairs.teachers=[words]",
    "prompts={source: synthetic, n: 16}",
    "conditions={off-model: }",
    "recoveries={}",
    "seeds=[1, 2]",
    "train.max_steps=2",
    "benchmarks={maths: {kind: math500, source: synthetic, n: 4, max_tokens: 16}}",
]


def test_a_study_grows_a_cluster_from_its_head_alone_and_leaves_it_so(tmp_path: Path):
    study = yaml.safe_load(SMALL) | {"store": str(tmp_path / "runs")}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    types = {"worker": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2}}
    with head(tmp_path, cpus=0, workers=types) as cluster:
        assert len(cluster.workers) == 0
        ended: list[subprocess.CompletedProcess] = []
        run = lambda: ended.append(  # noqa: E731
            cluster.offmodel("run", "small.yaml", "--address", cluster.address, *TINY, folder=tmp_path)
        )
        thread = threading.Thread(target=run)
        thread.start()
        most = 0
        while thread.is_alive():
            most = max(most, len(cluster.workers))
            thread.join(timeout=1)
        assert ended[0].returncode == 0, ended[0].stdout + ended[0].stderr
        assert "Cells: score" in ended[0].stdout
        assert most == 2
        wait(lambda: len(cluster.workers) == 0, lambda: False, lambda: "the nodes do not end")
