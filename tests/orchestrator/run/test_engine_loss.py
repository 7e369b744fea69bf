"""A real Serve replica that dies of one request."""

import os

import pytest
from ray.exceptions import OutOfMemoryError

from evaluators.engines.requests import Completion, Request, RequestOutput, SamplingParams
from orchestrator.run import engines
from orchestrator.run.engine_lifetime import application, note_begun, start_event_log
from orchestrator.store.context import Weights

pytestmark = pytest.mark.slow


class Dying:
    """In the place of an engine: ends its process at the request with the number 7. At 17 it fails as a replica does
    that Ray has ended since its node is short of memory."""

    async def call(self, id, weights, method, requests, arguments, alone):
        note_begun("test", [id])
        for i, request in enumerate(requests):
            if request.number == 7:
                os._exit(1)
            if request.number == 17:
                raise OutOfMemoryError("the node is short of memory")
            yield [(i, RequestOutput(completions=(Completion(text=str(request.number), truncated=False),)))]


@pytest.fixture(scope="module")
def run_name():
    """The name of a run whose engine `model` is served."""
    import ray
    from ray import serve

    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    serve.start(proxy_location="Disabled", logging_config={"log_level": "ERROR"})
    deployment = serve.deployment(Dying, ray_actor_options={"num_cpus": 0})
    serve.run(deployment.bind(), name=application("test", "model"), route_prefix=None)
    _log = start_event_log("test")  # Ray ends an actor without a handle.
    yield "test"
    serve.shutdown()
    ray.shutdown()


@pytest.mark.parametrize("first", [5, 15])
def test_a_request_that_kills_a_replica_is_set_aside(run_name, first):
    requests = [Request(prompt=[], number=number) for number in range(first, first + 4)]
    caller = engines.Caller(run=run_name, key=("trial", "stage"), retries=0)
    weights, params = Weights("base", None), SamplingParams(max_tokens=8)
    chunks = engines.call(caller, "model", weights, "generate", requests, params)
    found = {place: one for chunk in chunks for place, one in chunk}
    assert sorted(found) == [0, 1, 2, 3]
    assert [place for place, one in found.items() if one.error] == [2]
