"""What a plan says of a cluster."""

from pathlib import Path

import pytest
import yaml

from orchestrator.plan.build import build_plan
from orchestrator.plan.cluster import NodeType, node_types, on_cluster, predict
from orchestrator.plan.duration import Span
from orchestrator.plan.gpu_hours import gpu_hours_of
from tests.orchestrator.plan.test_workload import ALONE, HUB, SIMPLE

CLUSTER = Path(__file__).parents[3] / "cluster.yaml"


def nodes(gpus: int, most: int, idle_hours: float = 0.5) -> NodeType:
    return NodeType(name="gpu", gpus=gpus, most=most, idle_hours=idle_hours)


def span(start: float, end: float, gpus: int = 1) -> Span:
    return Span(start=start, end=end, gpus=gpus)


def test_a_node_ends_after_its_idle_timeout_and_starts_again():
    found = predict([span(0, 1), span(2, 3)], nodes(1, 4), start_hours=0.1)
    assert (found.hours, found.nodes) == (3.1, 1)
    assert found.node_hours == pytest.approx(2 * (1 + 0.5 + 0.1))
    assert found.idle_hours == pytest.approx(2 * (0.5 + 0.1))


def test_a_node_that_is_idle_for_less_stays():
    found = predict([span(0, 1), span(1.25, 2)], nodes(1, 4), start_hours=0.1)
    assert found.node_hours == pytest.approx(2 + 0.5 + 0.1)
    assert found.idle_hours == pytest.approx(0.25 + 0.5 + 0.1)


def test_stages_share_a_node_and_spread_over_several():
    assert predict([span(0, 1), span(0, 1)], nodes(2, 4), 0).nodes == 1
    assert predict([span(0, 1), span(0, 1, gpus=2)], nodes(2, 4), 0).nodes == 2
    assert predict([span(0, 1), span(0, 1, gpus=3)], nodes(2, 2), 0).nodes == 2
    wide = predict([span(0, 1, gpus=8)], nodes(2, 4, idle_hours=0), 0)
    assert (wide.nodes, wide.node_hours, wide.idle_hours) == (4, 4, 0)


def test_the_types_of_cluster_yaml_are_read():
    config = yaml.safe_load(CLUSTER.read_text())
    (gpu,) = node_types(CLUSTER)
    assert (gpu.gpus, gpu.most, gpu.idle_hours * 60) == (1, config["max_workers"], config["idle_timeout_minutes"])


@pytest.mark.parametrize("text", ["a: 1", "- a", "{", "available_node_types: {a: {}}\nhead_node_type: b"])
def test_another_file_is_refused(tmp_path, text):
    path = tmp_path / "other.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"other\.yaml: not the file of a cluster"):
        node_types(path)


def test_a_plan_says_what_it_needs_of_a_cluster(small, tmp_path):
    study = small(HUB, SIMPLE, *ALONE, "resources={engine: {gpus: 1}, train: {gpus: 1}}")
    plan = build_plan(study)
    costs = gpu_hours_of(plan.stages, study)
    (line,) = on_cluster(CLUSTER, plan.stages, study, costs)
    assert line.startswith("On cluster.yaml: ")
    assert "10 min to start, 20 min until an idle node ends" in line
    wide = small(HUB, SIMPLE, *ALONE, "resources={engine: {gpus: 1}, train: {gpus: 1, workers: 8}}")
    pending = build_plan(wide).stages
    (line,) = on_cluster(CLUSTER, pending, wide, gpu_hours_of(pending, wide))
    assert line == "On cluster.yaml: a stage needs 8 GPUs, and all gpu have 4."
    without = tmp_path / "cpus.yaml"
    without.write_text("head_node_type: head\navailable_node_types: {worker: {resources: {CPU: 1}}}")
    with pytest.raises(ValueError, match="no type of node has GPUs"):
        list(on_cluster(without, plan.stages, study, costs))
