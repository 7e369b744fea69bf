"""The time of nodes during a run."""

from orchestrator.run.nodes import Node, NodeTimes, NodeUse, is_idle


def test_times_of_nodes_are_added_up_by_type():
    times, head = NodeTimes(), Node(type="head", idle=None)
    works, waits = Node(type="gpu", idle=False), Node(type="gpu", idle=True)
    times.look([head], 100.0)
    times.look([head, works, waits], 110.0)
    times.look([head, works], 115.0)
    times.look([head], 120.0)
    assert times.uses == {
        "head": NodeUse(seconds=20, idle_seconds=None, most=1),
        "gpu": NodeUse(seconds=25, idle_seconds=10, most=2),
    }


def test_a_node_is_idle_if_all_of_its_cpus_and_gpus_are_free():
    there = {"CPU": 8.0, "GPU": 1.0, "memory": 1e9}
    assert is_idle(there, there | {"memory": 0.0}) is True
    assert is_idle(there, {"CPU": 8.0}) is False
    assert is_idle({"CPU": 8.0}, {"CPU": 7.5}) is False
    assert is_idle({"memory": 1e9}, {"memory": 1e9}) is None
