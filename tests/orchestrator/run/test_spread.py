"""A large batch in parts. A function takes the place of the engine's replicas."""

import threading

import pytest

from orchestrator.run import spread as module
from orchestrator.run.spread import PART, PARTS_EACH, spread


class Replicas:
    """Answers a part with a chunk for each half. With `hold`, parts wait until the test lets them go on."""

    def __init__(self, hold: bool = False):
        self.parts: list[list[int]] = []
        self.go = threading.Event()
        self.closed = threading.Semaphore(0)
        if not hold:
            self.go.set()

    def __call__(self, requests):
        try:
            self.parts.append(requests)
            self.go.wait(10)
            half = len(requests) // 2
            yield [(i, requests[i]) for i in range(half)]
            yield [(i, requests[i]) for i in range(half, len(requests))]
        finally:
            self.closed.release()


@pytest.mark.parametrize("n", [1, PART, PART + 1, 20 * PART - 3])
def test_each_request_has_its_own_answer(n):
    replicas = Replicas()
    found = [pair for chunk in spread(replicas, list(range(100, 100 + n)), lambda: 2) for pair in chunk]
    assert sorted(found) == [(i, 100 + i) for i in range(n)]
    assert sorted(len(part) for part in replicas.parts)[-1] <= PART


def test_a_replica_has_a_few_parts_at_once_and_a_new_one_gets_its_share(monkeypatch):
    replicas, there = Replicas(hold=True), [1]
    seen = []

    def count():
        if len(replicas.parts) == PARTS_EACH:
            seen.append(len(replicas.parts))
            there[0] = 3
        if len(replicas.parts) == 3 * PARTS_EACH:
            seen.append(len(replicas.parts))
            replicas.go.set()
        return there[0]

    monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)
    answered = [pair for chunk in spread(replicas, list(range(40 * PART)), count) for pair in chunk]
    assert len(answered) == 40 * PART
    assert seen[:1] == [PARTS_EACH]
    assert 3 * PARTS_EACH in seen


def test_the_first_error_of_a_part_ends_the_batch():
    def ask(requests):
        if 70 in requests:
            raise RuntimeError("no answer to 70")
        yield [(i, one) for i, one in enumerate(requests)]

    with pytest.raises(RuntimeError, match="no answer to 70"):
        list(spread(ask, list(range(2 * PART)), lambda: 1))


def test_parts_end_when_nobody_reads_them():
    replicas = Replicas(hold=True)
    chunks = spread(replicas, list(range(3 * PART)), lambda: 1)
    reader = threading.Thread(target=next, args=(chunks,))
    reader.start()
    while len(replicas.parts) < 3:
        pass
    replicas.go.set()
    reader.join()
    chunks.close()
    for _ in range(3):
        assert replicas.closed.acquire(timeout=10)
