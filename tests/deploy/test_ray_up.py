"""cluster.yaml and deploy/cluster-gcp.yaml, checked by Ray's own validator and autoscaler, and the settings of machines
by the schemas of the clouds. Needs no cloud."""

import json
import re
from pathlib import Path
from typing import Any

import botocore.session
import jsonschema
import pytest
import yaml
from botocore.exceptions import ParamValidationError
from botocore.validate import validate_parameters
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.deploy.autoscaler import BOOT_MINUTES, ENGINE, ON_CPUS, TRAINING, autoscaling, launched

ROOT = Path(__file__).parents[2]
AWS, GOOGLE = ROOT / "cluster.yaml", ROOT / "deploy" / "cluster-gcp.yaml"
COMPUTE = Path(__file__).parent / "schemas" / "compute.json"
# How a file says that a node may be reclaimed, and which account it has.
SPOT = {
    AWS: lambda node: node.get("InstanceMarketOptions", {}).get("MarketType") == "spot",
    GOOGLE: lambda node: node.get("scheduling", {}).get("provisioningModel") == "SPOT",
}
ACCOUNT = {AWS: "IamInstanceProfile", GOOGLE: "serviceAccounts"}


@pytest.fixture(params=[AWS, GOOGLE], ids=lambda file: file.name)
def file(request) -> Path:
    return request.param


def read(file: Path) -> dict[str, Any]:
    return yaml.safe_load(file.read_text())


def validated(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration with Ray's defaults filled in, as `ray up` validates it. Raises if Ray refuses it."""
    prepared = prepare_config(config)
    validate_config(prepared)
    return prepared


def machines(file: Path) -> dict[str, dict[str, Any]]:
    return {name: node["node_config"] for name, node in read(file)["available_node_types"].items()}


def check_machine(file: Path, machine: dict[str, Any]) -> None:
    """Raises if the cloud's API does not know a setting."""
    if file == AWS:
        run = botocore.session.get_session().get_service_model("ec2").operation_model("RunInstances")
        validate_parameters({"MinCount": 1, "MaxCount": 1} | machine, run.input_shape)  # Ray adds the counts.
    else:
        jsonschema.validate(machine, json.loads(COMPUTE.read_text()) | {"$ref": "#/$defs/Instance"})


def test_ray_accepts_the_file(file):
    validated(read(file))


def test_ray_accepts_the_documentations_way_to_copy_keys(file):
    (block,) = re.findall(r"```text\n(file_mounts:.*?)```", (ROOT / "docs" / "cluster.md").read_text(), re.DOTALL)
    added, defaults = yaml.safe_load(block), validated(read(file))
    config = validated(read(file) | added)
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
def test_ray_refuses_a_misspelt_key(file, place, key, misspelt):
    config = part = read(file)
    for name in place:
        part = part[name]
    part[misspelt] = part.pop(key)
    with pytest.raises(jsonschema.ValidationError, match=misspelt):
        validated(config)


def test_the_cloud_knows_every_setting_of_a_machine(file):
    for machine in machines(file).values():
        check_machine(file, machine)


@pytest.mark.parametrize(
    ("file", "misspelt"),
    [
        (AWS, {"InstanceMarketOption": {}}),
        (AWS, {"InstanceMarketOptions": {"MarketTypes": "spot"}}),
        (GOOGLE, {"schedulings": {}}),
        (GOOGLE, {"scheduling": {"provisioningModels": "SPOT"}}),
        (GOOGLE, {"scheduling": {"provisioningModel": "spot"}}),
    ],
    ids=lambda value: value.name if isinstance(value, Path) else str(value),
)
def test_the_cloud_refuses_a_misspelt_setting(file, misspelt):
    with pytest.raises((ParamValidationError, jsonschema.ValidationError), match=r"(?i)unknown|additional|not one of"):
        check_machine(file, machines(file)["gpu"] | misspelt)


def test_only_workers_are_spot(file):
    spot = {name: SPOT[file](machine) for name, machine in machines(file).items()}
    assert not spot.pop(read(file)["head_node_type"])
    assert spot
    assert all(spot.values())


def test_nodes_stay_longer_than_they_take_to_boot(file):
    config = autoscaling(read(file))
    assert config.get_idle_timeout_s() > BOOT_MINUTES * 60
    assert all(node.idle_timeout_s is None for node in config.get_node_type_configs().values()), (
        "a node's own goes first"
    )


def test_nothing_is_launched_without_work(file):
    nodes = autoscaling(read(file)).get_node_type_configs()
    assert {node.min_worker_nodes for node in nodes.values()} == {0}
    assert launched(read(file)) == {}


def test_engines_and_trainings_get_gpus_of_their_own(file):
    config = read(file)
    assert launched(config, ENGINE) == {"gpu": 1}
    assert launched(config, ENGINE, ENGINE, TRAINING) == {"gpu": 3}
    most = config["max_workers"]
    assert launched(config, *[TRAINING] * (most + 1)) == {"gpu": most}


def test_stages_stay_off_the_head(file):
    assert launched(read(file), ON_CPUS) == {"gpu": 1}


def test_nothing_is_installed_when_a_node_boots(file):
    config = validated(read(file))
    assert config["head_setup_commands"] == config["worker_setup_commands"] == []


def test_nodes_reach_the_bucket_without_keys(file):
    accounts = [machine[ACCOUNT[file]] for machine in machines(file).values()]
    assert accounts[0] != accounts[1], "only the head may launch nodes"
    assert not re.search(r"AKIA|ASIA|secret_access|private_key|hf_\w{8}|RAY_AUTH_TOKEN\b", file.read_text())


def test_jobs_need_the_token(file):
    config = validated(read(file))
    assert "--env RAY_AUTH_MODE=token" in config["docker"]["run_options"]
    assert config["file_mounts"] == {"~/.ray/auth_token": "~/.ray/auth_token"}


def test_both_files_describe_the_same_cluster():
    def common(file: Path) -> dict[str, Any]:
        config = read(file)
        docker = {key: value for key, value in config["docker"].items() if key != "image"}
        names = ("cluster_name", "max_workers", "idle_timeout_minutes", "file_mounts", "head_node_type")
        return {name: config[name] for name in names} | docker

    assert common(AWS) == common(GOOGLE)
