"""deploy/ray-cluster.yaml and deploy/ray-job.yaml, checked by KubeRay's schema as the API server applies it, and by
Ray's own reader and autoscaler. Needs no cluster."""

import copy
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from ray.scripts.scripts import start

from orchestrator.study.load import load_study
from tests.deploy.autoscaler import BOOT_MINUTES, ENGINE, ON_CPUS, TRAINING, autoscaling, launched

ROOT = Path(__file__).parents[2]
CLUSTER, JOB = ROOT / "deploy" / "ray-cluster.yaml", ROOT / "deploy" / "ray-job.yaml"
SCHEMAS = json.loads((Path(__file__).parent / "schemas" / "kuberay.json").read_text())
VALIDATORS = {
    kind: jsonschema.Draft202012Validator(SCHEMAS | {"$ref": f"#/$defs/{kind}"}) for kind in ("RayCluster", "RayJob")
}
FREE = ("nodeSelector", "requests", "limits", "rayStartParams")  # Their keys are names of the user's or of Ray.


@pytest.fixture(params=[CLUSTER, JOB], ids=lambda file: file.name)
def file(request) -> Path:
    return request.param


def read(file: Path) -> dict[str, Any]:
    return yaml.safe_load(file.read_text())


def cluster(file: Path) -> dict[str, Any]:
    """The specification of the Ray cluster."""
    spec = read(file)["spec"]
    return spec if file == CLUSTER else spec["rayClusterSpec"]


def pods(file: Path) -> dict[str, dict[str, Any]]:
    spec = cluster(file)
    groups = {"head": spec["headGroupSpec"]} | {group["groupName"]: group for group in spec["workerGroupSpecs"]}
    return {name: group["template"]["spec"] for name, group in groups.items()}


def containers(file: Path) -> dict[str, dict[str, Any]]:
    return {name: container for name, pod in pods(file).items() for container in pod["containers"]}


def validate(resource: dict[str, Any]) -> None:
    """Raises if the API server would refuse the resource. It refuses unknown fields, which `kubectl` asks it to."""
    assert resource["apiVersion"] == "ray.io/v1"
    VALIDATORS[resource["kind"]].validate(resource)


def autoscaled(file: Path) -> dict[str, Any]:
    """What the autoscaler makes of the cluster. KubeRay gives a job's cluster a name and the job's namespace."""
    return _derive_autoscaling_config_from_ray_cr(
        {"metadata": {"name": "offmodel", "namespace": "default"}, "spec": cluster(file)}
    )


def mappings(part: Any, place: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The places of all mappings whose keys are fields."""
    if isinstance(part, dict) and place[-1:] not in [(name,) for name in FREE]:
        yield place
    if isinstance(part, dict | list):
        for key, value in part.items() if isinstance(part, dict) else enumerate(part):
            yield from mappings(value, (*place, key))


def test_the_schema_accepts_the_file(file):
    validate(read(file))


def test_the_schema_refuses_every_misspelt_key(file):
    places = list(mappings(read(file)))
    assert len(places) > 20
    for place in places:
        resource = part = copy.deepcopy(read(file))
        for key in place:
            part = part[key]
        part["zzz"] = "1"
        with pytest.raises(jsonschema.ValidationError, match="zzz"):
            validate(resource)


@pytest.mark.parametrize(
    ("place", "wrong"),
    [
        (("autoscalerOptions", "version"), "v3"),
        (("authOptions", "mode"), "tokens"),
        (("workerGroupSpecs", 0, "maxReplicas"), "4"),
        (("workerGroupSpecs", 0, "template", "spec", "containers", 0, "resources", "limits", "memory"), "56 GB"),
    ],
)
def test_the_schema_refuses_a_wrong_value(place, wrong):
    resource = part = read(CLUSTER)
    for key in ("spec", *place[:-1]):
        part = part[key]
    part[place[-1]] = wrong
    with pytest.raises(jsonschema.ValidationError, match=re.escape(repr(wrong))):
        validate(resource)


def test_the_schema_refuses_a_missing_field():
    resource = read(JOB)
    del resource["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]
    with pytest.raises(jsonschema.ValidationError, match="'template' is a required property"):
        validate(resource)


def test_ray_start_knows_the_parameters(file):
    spec = cluster(file)
    options = {option.removeprefix("--") for parameter in start.params for option in parameter.opts}
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        assert group["rayStartParams"].keys() <= options


def test_both_files_describe_the_same_cluster():
    with_study = cluster(JOB)
    head = with_study["headGroupSpec"]["template"]["spec"]
    assert head.pop("volumes") == [{"name": "study", "configMap": {"name": "offmodel-study"}}]
    assert head["containers"][0].pop("volumeMounts") == [{"name": "study", "mountPath": "/study"}]
    assert with_study == cluster(CLUSTER)


def test_the_autoscaler_runs_in_the_head(file):
    spec = cluster(file)
    assert spec["enableInTreeAutoscaling"] is True
    assert spec["autoscalerOptions"]["version"] == "v2"
    assert all("restartPolicy" not in pod for pod in pods(file).values()), "KubeRay refuses others than Never"


def test_nothing_is_launched_without_work(file):
    config = autoscaled(file)
    nodes = autoscaling(config).get_node_type_configs()
    assert {node.min_worker_nodes for node in nodes.values()} == {0}
    assert cluster(file)["workerGroupSpecs"][0]["replicas"] == 0
    assert launched(config) == {}


def test_engines_and_trainings_get_gpus_of_their_own(file):
    config = autoscaled(file)
    assert launched(config, ENGINE) == {"gpu": 1}
    assert launched(config, ENGINE, ENGINE, TRAINING) == {"gpu": 3}
    most = cluster(file)["workerGroupSpecs"][0]["maxReplicas"]
    assert launched(config, *[TRAINING] * (most + 1)) == {"gpu": most}


def test_stages_stay_off_the_head(file):
    config = autoscaled(file)
    assert config["available_node_types"][config["head_node_type"]]["resources"]["CPU"] == 0
    assert launched(config, ON_CPUS) == {"gpu": 1}


def test_pods_stay_longer_than_machines_take_to_boot(file):
    config = autoscaling(autoscaled(file))
    assert config.get_idle_timeout_s() > BOOT_MINUTES * 60
    assert all(node.idle_timeout_s is None for node in config.get_node_type_configs().values())


def test_only_workers_run_on_spot_machines(file):
    kinds = {name: pod["nodeSelector"]["eks.amazonaws.com/capacityType"] for name, pod in pods(file).items()}
    assert kinds == {"head": "ON_DEMAND", "gpu": "SPOT"}


def test_keys_come_from_secrets_and_only_drivers_have_those_of_apis(file):
    names = {}
    for group, container in containers(file).items():
        assert all(variable.keys() == {"name", "valueFrom"} for variable in container["env"])
        assert all(variable["valueFrom"].keys() == {"secretKeyRef"} for variable in container["env"])
        assert all(variable["valueFrom"]["secretKeyRef"]["key"] == variable["name"] for variable in container["env"])
        names[group] = {variable["name"] for variable in container["env"]}
    assert names == {"head": {"HF_TOKEN", "OPENAI_API_KEY"}, "gpu": {"HF_TOKEN"}}


def test_jobs_need_the_token(file):
    assert cluster(file)["authOptions"] == {"mode": "token"}


def test_all_pods_have_the_same_image_and_may_use_the_bucket(file):
    assert len({container["image"] for container in containers(file).values()}) == 1
    assert {pod["serviceAccountName"] for pod in pods(file).values()} == {"offmodel"}


def test_the_job_runs_the_mounted_study(tmp_path, small):
    program, command, study, *arguments = shlex.split(read(JOB)["spec"]["entrypoint"])
    mount = containers(JOB)["head"]["volumeMounts"][0]["mountPath"]
    assert (program, command, study) == ("offmodel", "run", f"{mount}/study.yaml")
    assert arguments[:2] == ["--address", "auto"]
    loaded = load_study(tmp_path / "small.yaml", arguments[2:])
    assert loaded.store.startswith("s3://")
    assert (loaded.resources.engine.gpus, loaded.resources.train.gpus) == (1, 1)


def test_a_failed_job_is_tried_again_and_the_cluster_removed():
    spec = read(JOB)["spec"]
    assert spec["backoffLimit"] > 0
    assert spec["shutdownAfterJobFinishes"] is True
