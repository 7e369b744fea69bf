"""Fixtures of several test files: a small study, the demo study, publishing a stage, an API, time without waiting."""

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.store.stage import Stage
from orchestrator.store.store import Store
from orchestrator.study.load import load_study
from tests.api_server import KEY, chat_server

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
SMALL = """
name: small
models: {student: organism:steps, words: organism:words, terse: organism:terse}
pairs: {students: [student], teachers: [words, terse]}
prompts: {source: synthetic, n: 20}
sampling: {max_tokens: 8}
train: {learning_rate: 1.0e-3}
conditions:
  off-model:
  on-model:
  prefill: {tokens: 2, benchmarks: [maths]}
recoveries:
  own: {kind: on_model_sft, conditions: [off-model], budgets: [4, 8]}
benchmarks:
  maths: {kind: math500, source: synthetic, n: 5, prompt: "{problem}", max_tokens: 16}
  facts: {kind: mmlu, source: synthetic, n: 5}
seeds: [1, 2]
dtype: float32
"""
# Overrides of SMALL: one teacher, one condition, and as little work as there can be.
TINY = [
    "pairs.teachers=[words]",
    "prompts={source: synthetic, n: 16}",
    "conditions={off-model: }",
    "recoveries={}",
    "train.max_steps=2",
    "benchmarks={maths: {kind: math500, source: synthetic, n: 4, max_tokens: 16}}",
]

STATUS: list[int] = []  # of the session, once it has finished


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """`make test-fast` does not import files whose tests are all slow: vLLM, Ray and lm-eval take seconds each."""
    fast = config.option.markexpr == "not slow" and collection_path.suffix == ".py"
    return True if fast and "\npytestmark = pytest.mark.slow\n" in collection_path.read_text() else None


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """End without Python's own clean-up after slow tests: threads of Ray, vLLM and servers have crashed it."""
    if config.option.markexpr == "slow" and STATUS:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(STATUS[0])


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    STATUS.append(int(exitstatus))


@pytest.fixture
def small(tmp_path):
    """Loads the small study, with overrides; its store is the test's own."""
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return lambda *overrides: load_study(path, [f"store={tmp_path / 'runs'}", *overrides])


@pytest.fixture
def demo():
    """Loads the demo study, with overrides."""
    return lambda *overrides: load_study(EXPERIMENTS / "demo.yaml", overrides)


@pytest.fixture
def publish():
    """Publishes a stage with the given files (name to bytes) and facts; returns True for the first attempt."""

    def act(store: Store, stage: Stage, files: dict[str, bytes], attempt: str = "one", **facts) -> bool:
        folder = store.new_folder(stage, attempt)
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return store.publish(stage, folder, attempt, {"started": 0.0, "seconds": 1.0, "facts": facts})

    return act


@pytest.fixture
def server(monkeypatch):
    """An API, which the environment has a key for; see chat_server."""
    monkeypatch.setenv("TEST_KEY", KEY)
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-of-another")  # which the client reads by itself
    with chat_server() as said:
        yield said


class Intervals:
    """`wait` takes the place of `threading.Event.wait` in a thread that works at intervals, which the test ends."""

    def __init__(self) -> None:
        self._waiting, self._over, self._closed = threading.Semaphore(0), threading.Semaphore(0), False

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self._waiting.release()
        self._over.acquire()
        return self._closed or event.is_set()

    def end(self) -> None:
        """End the interval at which the thread waits, once it does."""
        assert self._waiting.acquire(timeout=60)
        self._over.release()

    def end_and_work(self) -> None:
        """The same, and wait until the thread has done the work of the interval and waits for the next."""
        self.end()
        assert self._waiting.acquire(timeout=60)
        self._waiting.release()

    def close(self) -> None:
        """Let the thread end."""
        self._closed = True
        self._over.release()


@pytest.fixture
def intervals() -> Iterator[Intervals]:
    made = Intervals()
    yield made
    made.close()
