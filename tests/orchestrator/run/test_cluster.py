"""cluster.yaml, checked by Ray's own validator and autoscaler. Needs no cloud."""

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.utils import ResourceRequestUtil

from orchestrator.study.resources import EngineResources, TrainResources

FILE = Path(__file__).parents[3] / "cluster.yaml"
BOOT_MINUTES = 10  # of a GPU node, with the pull of an image that holds torch and vLLM
ENGINE, TRAINING = EngineResources(gpus=1), TrainResources(gpus=1)


def read() -> dict[str, Any]:
    return yaml.safe_load(FILE.read_text())


def validated(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration with Ray's defaults filled in, as `ray up` validates it. Raises if Ray refuses it."""
    prepared = prepare_config(config)
    validate_config(prepared)
    return prepared


def launched(*demands: EngineResources | TrainResources) -> dict[str, int]:
    """The nodes by type that the autoscaler would launch for these demands, without the head."""
    config = AutoscalingConfig(read(), skip_content_hash=True)
    bundles = [ResourceRequestUtil.make({"CPU": demand.cpus, "GPU": demand.gpus}) for demand in demands]
    request = SchedulingRequest(
        disable_launch_config_check=True,
        node_type_configs=config.get_node_type_configs(),
        max_num_nodes=config.get_max_num_nodes(),
        resource_requests=ResourceRequestUtil.group_by_count(bundles),
    )
    reply = ResourceDemandScheduler().schedule(request)
    return {launch.instance_type: launch.count for launch in reply.to_launch}


def test_ray_accepts_the_file():
    validated(read())


def test_ray_accepts_the_documentations_way_to_copy_keys():
    (block,) = re.findall(
        r"```text\n(file_mounts:.*?)```", (FILE.parent / "docs" / "cluster.md").read_text(), re.DOTALL
    )
    added, defaults = yaml.safe_load(block), validated(read())
    config = validated(read() | added)
    assert config["file_mounts"].keys() > defaults["file_mounts"].keys()
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        assert [command.removeprefix(". ~/.ray/keys; ") for command in config[key]] == defaults[key]


@pytest.mark.parametrize(
    ("place", "key", "misspelt"),
    [
        ((), "idle_timeout_minutes", "idle_timeout_minute"),
        (("docker",), "run_options", "run_option"),
        (("available_node_types", "gpu"), "min_workers", "min_worker"),
        (("available_node_types", "head"), "resources", "resource"),
    ],
)
def test_ray_refuses_a_misspelt_key(place, key, misspelt):
    config = part = read()
    for name in place:
        part = part[name]
    part[misspelt] = part.pop(key)
    with pytest.raises(jsonschema.ValidationError, match=misspelt):
        validated(config)


def test_only_workers_are_spot():
    config = validated(read())
    head = config["head_node_type"]
    markets = {
        name: node["node_config"].get("InstanceMarketOptions") for name, node in config["available_node_types"].items()
    }
    assert markets.pop(head) is None
    assert markets
    assert all(market == {"MarketType": "spot"} for market in markets.values())


def test_nodes_stay_longer_than_they_take_to_boot():
    config = AutoscalingConfig(read(), skip_content_hash=True)
    assert config.get_idle_timeout_s() > BOOT_MINUTES * 60
    assert all(node.idle_timeout_s is None for node in config.get_node_type_configs().values()), (
        "a node's own goes first"
    )


def test_nothing_is_launched_without_work():
    nodes = AutoscalingConfig(read(), skip_content_hash=True).get_node_type_configs()
    assert {node.min_worker_nodes for node in nodes.values()} == {0}
    assert launched() == {}


def test_engines_and_trainings_get_gpus_of_their_own():
    assert launched(ENGINE) == {"gpu": 1}
    assert launched(ENGINE, ENGINE, TRAINING) == {"gpu": 3}
    most = validated(read())["max_workers"]
    assert launched(*[TRAINING] * (most + 1)) == {"gpu": most}


def test_stages_stay_off_the_head():
    assert launched(TrainResources()) == {"gpu": 1}


def test_nothing_is_installed_when_a_node_boots():
    config = validated(read())
    assert config["head_setup_commands"] == config["worker_setup_commands"] == []


def test_nodes_reach_the_bucket_without_keys():
    nodes = validated(read())["available_node_types"].values()
    assert all("IamInstanceProfile" in node["node_config"] for node in nodes)
    assert not re.search(r"AKIA|ASIA|secret_access|hf_\w{8}|RAY_AUTH_TOKEN\b", FILE.read_text())


def test_jobs_need_the_token():
    config = validated(read())
    assert "--env RAY_AUTH_MODE=token" in config["docker"]["run_options"]
    assert config["file_mounts"] == {"~/.ray/auth_token": "~/.ray/auth_token"}
