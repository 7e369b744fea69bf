"""How results travel from an engine, and what happens when it is lost; whole studies run in test_end_to_end.py."""

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import ray
from ray import serve

from evaluators.engines.requests import Request, SamplingParams
from orchestrator.run.allocator import start_allocator
from orchestrator.run.api_replica import in_chunks
from orchestrator.run.engine_client import EngineLost
from orchestrator.run.engine_lifetime import application, start_event_log
from orchestrator.run.engines import batch, deploy, shares
from orchestrator.stages import model
from orchestrator.store.context import Weights
from orchestrator.store.store import Store
from orchestrator.study.models import LocalModel
from organisms import shipped

RUN = "aaaaaaaa"
REQUESTS = [Request(prompt=[{"role": "user", "content": "describe red fox"}])]


def test_a_chunk_ends_with_the_first_result_after_its_time():
    now = 0.0

    def results():
        nonlocal now
        yield from (1, 2)
        now += 5
        yield from (3, 4)

    assert list(in_chunks(results(), 10, lambda: now)) == [[1, 2, 3, 4]]
    assert list(in_chunks(results(), 4, lambda: now)) == [[1, 2, 3], [4]]
    assert list(in_chunks([], 10)) == []


def test_the_name_of_an_application_is_short_and_ascii():
    names = {application(RUN, alias) for alias in ("ä b/c#", "ö b/c#", "a" * 300)}
    assert len(names) == 3
    assert all(name.isascii() and len(name) < 60 and "/" not in name for name in names)


@pytest.fixture(scope="module")
def _ray() -> Iterator[None]:
    ray.init("local", num_cpus=2, include_dashboard=False, object_store_memory=256 << 20, log_to_driver=False)
    yield
    serve.shutdown()
    ray.shutdown()


def texts(engine: str, weights: Weights) -> list[str]:
    """The completions of a real replica for REQUESTS."""
    handle = serve.get_app_handle(application(RUN, engine)).options(stream=True)
    chunks = batch(handle, weights, "generate", REQUESTS, (SamplingParams(max_tokens=8),))
    return [output.completions[0].text for chunk in chunks for _, output in chunk]


@pytest.mark.slow
@pytest.mark.usefixtures("_ray")
def test_an_engine_that_hangs_is_replaced(small):
    answers = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            answers.wait()
            message = {"role": "assistant", "content": "here"}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
            whole = {"id": "1", "object": "chat.completion", "created": 0, "model": "far"}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({**whole, "choices": [choice], "usage": usage}).encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/v1"
    far = f"models.words={{api: far, base_url: '{url}', concurrency: 1}}"
    deploy(RUN, small(far, "resources.engine.timeout_seconds=2"), ["words"], 0)
    with pytest.raises(EngineLost, match="no request was finished in 2 s"):
        texts("words", Weights("none", None))
    answers.set()
    assert texts("words", Weights("none", None)) == ["here"]
    server.shutdown()
    server.server_close()


@pytest.mark.slow
@pytest.mark.usefixtures("_ray")
def test_an_engine_that_failed_to_load_weights_is_replaced(small, publish, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(shipped.FOLDER / "words", damaged)
    file = damaged / "model.safetensors"
    file.write_bytes(file.read_bytes()[:100_000])
    study, weights = small(), {}
    for path in (shipped.FOLDER / "steps", damaged):
        stage = model.stage(path.name, LocalModel(path=str(path)), cpus=1)
        publish(Store(study.store), stage, {})
        weights[path.name] = Weights.of(stage)
    event_log, allocator = start_event_log(RUN), start_allocator(RUN, shares(study, ["organisms"]))
    deploy(RUN, study, ["organisms"], 0)
    ray.get(allocator.use_engine.remote(("trial", "stage"), "organisms"))
    before = texts("organisms", weights["steps"])
    with pytest.raises(EngineLost, match="Safetensor"):
        texts("organisms", weights["damaged"])
    assert texts("organisms", weights["steps"]) == before
    assert {event.what for event in ray.get(event_log.events.remote(0))} == {"engine"}
