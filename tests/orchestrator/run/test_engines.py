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
from orchestrator.run import engines
from orchestrator.run.allocator import start_allocator
from orchestrator.run.api_replica import in_chunks
from orchestrator.run.engine_client import EngineLost
from orchestrator.run.engine_lifetime import application, event_log_of, start_event_log
from orchestrator.run.engines import batch, deploy, most, shares
from orchestrator.run.replica import Replica
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
    _log = start_event_log(RUN)  # Ray ends an actor without a handle.
    yield
    serve.shutdown()
    ray.shutdown()


def texts(engine: str, weights: Weights) -> list[str]:
    """The completions of a real replica for REQUESTS."""
    chunks = batch(RUN, engine, weights, "generate", REQUESTS, (SamplingParams(max_tokens=8),))
    return [output.completions[0].text for chunk in chunks if isinstance(chunk, list) for _, output in chunk]


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


class Hungry(Replica):
    """Its engine has no memory for more than 200 sequences in a step."""

    def _start(self, base: str):
        engine = super()._start(base)
        inner = engine._llm.llm_engine
        step = inner.step

        def hungry():
            if len(inner.engine_core.engine_core.scheduler.running) > 200:
                raise MemoryError("for so many sequences")
            return step()

        inner.step = hungry
        return engine


@pytest.mark.slow
@pytest.mark.usefixtures("_ray")
def test_an_engine_without_memory_starts_again_with_smaller_limits(small, publish, monkeypatch):
    monkeypatch.setattr(engines, "Replica", Hungry)
    study = small()
    stage = model.stage("steps", LocalModel(path=str(shipped.FOLDER / "steps")), cpus=1)
    publish(Store(study.store), stage, {})
    event_log, allocator = (
        start_event_log("cccccccc"),
        start_allocator("cccccccc", shares(study, ["organisms"]), most(study), {}),
    )
    deploy("cccccccc", study, ["organisms"], 0)
    key = ("trial", "stage")
    ray.get(allocator.use_engine.remote(key, "organisms"))
    requests = [Request(prompt=REQUESTS[0].prompt, number=i) for i in range(300)]
    arguments = (Weights.of(stage), "generate", requests, SamplingParams(max_tokens=8))
    caller = engines.Caller(run="cccccccc", key=key, retries=2)
    found = [pair for chunk in engines.call(caller, "organisms", *arguments) for pair in chunk]
    assert sorted(place for place, _ in found) == list(range(300))
    assert len({output.completions[0].text for _, output in found}) == 1
    notes = [event.message for event in ray.get(event_log.news.remote(0)).events if event.what == "note"]
    assert notes == ["the engine of organisms ran out of memory; it starts again with smaller limits (level 1)"]


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
    event_log, allocator = event_log_of(RUN), start_allocator(RUN, shares(study, ["organisms"]), most(study), {})
    deploy(RUN, study, ["organisms"], 0)
    ray.get(allocator.use_engine.remote(("trial", "stage"), "organisms"))
    before = texts("organisms", weights["steps"])
    with pytest.raises(EngineLost, match="Safetensor"):
        texts("organisms", weights["damaged"])
    assert texts("organisms", weights["steps"]) == before
    assert {event.what for event in ray.get(event_log.news.remote(0)).events} == {"engine"}
