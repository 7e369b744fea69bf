"""Ray's autoscaler, asked what it would launch. Needs no cloud."""

from typing import Any

from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.utils import ResourceRequestUtil

from orchestrator.study.resources import EngineResources, TrainResources

BOOT_MINUTES = 10  # of a GPU node, with the pull of an image that holds torch and vLLM
ENGINE, TRAINING = EngineResources(gpus=1), TrainResources(gpus=1)
ON_CPUS = TrainResources()


def autoscaling(config: dict[str, Any]) -> AutoscalingConfig:
    return AutoscalingConfig(config, skip_content_hash=True)


def launched(config: dict[str, Any], *demands: EngineResources | TrainResources) -> dict[str, int]:
    """The nodes by type that the autoscaler would launch for these demands, without the head."""
    read = autoscaling(config)
    bundles = [ResourceRequestUtil.make({"CPU": demand.cpus, "GPU": demand.gpus}) for demand in demands]
    request = SchedulingRequest(
        disable_launch_config_check=True,
        node_type_configs=read.get_node_type_configs(),
        max_num_nodes=read.get_max_num_nodes(),
        resource_requests=ResourceRequestUtil.group_by_count(bundles),
    )
    reply = ResourceDemandScheduler().schedule(request)
    return {launch.instance_type: launch.count for launch in reply.to_launch}
