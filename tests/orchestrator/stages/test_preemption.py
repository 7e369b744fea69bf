"""Preemption of this process."""

import os
import signal
import subprocess
import sys
import threading

import pytest
import ray

from orchestrator.stages.preemption import PreemptionNotice

WORKER = """
import os, signal
from orchestrator.stages.preemption import PreemptionNotice
with PreemptionNotice() as notice:
    os.kill(os.getpid(), signal.SIGTERM)
    print("saved", notice.requested(), flush=True)
    notice.exit_if_requested()
    print("not reached", flush=True)
"""


@pytest.fixture(autouse=True)
def earlier_handler():
    """An earlier handler of SIGTERM, which does not end the tests."""

    def handler(*_):
        raise AssertionError("no handler for the SIGTERM")

    before = signal.signal(signal.SIGTERM, handler)
    yield handler
    signal.signal(signal.SIGTERM, before)


def test_a_sigterm_requests_preemption_and_ends_the_process_on_exit_if_requested():
    with PreemptionNotice() as notice:
        notice.exit_if_requested()
        assert not notice.requested()
        os.kill(os.getpid(), signal.SIGTERM)
        assert notice.requested()
        with pytest.raises(SystemExit) as ended:
            notice.exit_if_requested()
        assert ended.value.code == 143


def test_a_second_sigterm_ends_the_process_at_once():
    with PreemptionNotice() as notice:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(SystemExit) as ended:
            os.kill(os.getpid(), signal.SIGTERM)
        assert ended.value.code == 143
        assert notice.requested()


def test_the_earlier_sigterm_handler_is_restored(earlier_handler):
    with PreemptionNotice():
        assert signal.getsignal(signal.SIGTERM) is not earlier_handler
    assert signal.getsignal(signal.SIGTERM) is earlier_handler


def test_outside_of_the_main_thread_no_handler_is_installed(earlier_handler):
    seen = []

    def work():
        with PreemptionNotice() as notice:
            seen.append((signal.getsignal(signal.SIGTERM), notice.requested()))
            notice.exit_if_requested()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(earlier_handler, False)]
    assert signal.getsignal(signal.SIGTERM) is earlier_handler


def test_a_preempted_process_exits_with_the_code_of_sigterm():
    worker = subprocess.run([sys.executable, "-c", WORKER], capture_output=True, text=True, check=False, timeout=60)
    assert (worker.returncode, worker.stdout) == (128 + signal.SIGTERM, "saved True\n"), worker.stderr


@pytest.mark.parametrize(("drained", "requested"), [("here", True), ("elsewhere", False)])
def test_draining_this_node_requests_preemption_and_ends_no_process(monkeypatch, intervals, drained, requested):
    class Context:
        def get_node_id(self) -> str:
            return "here"

    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "get_runtime_context", Context)
    monkeypatch.setattr(ray._private.state.state, "get_draining_nodes", lambda: {drained: 0})
    with PreemptionNotice(intervals.wait) as notice:
        assert not notice.requested()
        intervals.end()
        if requested:
            assert notice._requested.wait(60)
        else:
            intervals.end_and_work()  # It keeps polling.
            assert not notice.requested()
        notice.exit_if_requested()
